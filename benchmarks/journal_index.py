"""How long it takes to find 1,000,000 completions in a journal, and how much memory.

The journal is as a run leaves it: 2,000 shards of 500 completions, 15 to a prompt, each a text of about 60 tokens drawn
from a vocabulary with the frequencies of natural language, which compresses about as well. Each lookup is made by a
process of its own, as a run makes it: it opens the journal and finds all completions, or those of ten prompts. Then
the shards are merged, and the lookups repeated. Memory is the peak of the whole process, imports included.

The result is the lookup of all completions before merging, beside the mark of 10 s.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.measuring import Result, Side, compared
from selftaught_assets.method.identity import digest
from selftaught_assets.storage.journal import SCHEMA, Journal, compact, contents

MARK_SECONDS = 10.0
SAMPLES = 15
"""Of each prompt, as in the paper."""
ROWS = 500
"""Of one shard: what a fast engine completes between two appends."""
WORDS = 45
"""Of one completion: about 60 tokens."""
FEW = 10


class Measured(NamedTuple):
    """One piece of work, in a process of its own."""

    seconds: float
    peak_gib: float
    rows: int


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Makes the journal, measures and prints."""
    n = 5_000 if small else 1_000_000
    with tempfile.TemporaryDirectory(prefix="selftaught-bench-") as place:
        folder = Path(place)
        _alone(make, folder, n)
        every = measure("all of them, {shards:,} shards", folder, n // SAMPLES + 1, rounds)
        assert every.rows == n
        measure("ten prompts, {shards:,} shards", folder, FEW, rounds)
        for what, work in (("counting", count), ("merging", merge)):
            done = _alone(work, folder)
            print(f"{what}: {done.seconds:.2f} s, peak {done.peak_gib:.2f} GiB")
        assert measure("all of them, {shards:,} merged", folder, n // SAMPLES + 1, rounds).rows == n
        measure("ten prompts, {shards:,} merged", folder, FEW, rounds)
    print(f"peak memory {every.peak_gib:.2f} GiB")
    return {"journal_index": compared(Side("finding all", [every.seconds], "s"), Side("mark", [MARK_SECONDS], "s"), n)}


def measure(what: str, folder: Path, prompts: int, rounds: int) -> Measured:
    """The median lookup of some rounds, with the highest peak; printed with min and max."""
    done = [_alone(look_up, folder, prompts) for _ in range(rounds)]
    seconds, peak = [one.seconds for one in done], max(one.peak_gib for one in done)
    title = what.format(shards=len(Journal(folder).shards()))
    print(
        f"{title}: {done[0].rows:,} completions in {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
        f"peak {peak:.2f} GiB"
    )
    return Measured(median(seconds), peak, done[0].rows)


def make(folder: Path, n: int) -> int:
    """Appends n completions, shard by shard."""
    draws = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(["".join(draws.choice(letters, size=size)) for size in draws.integers(2, 10, size=5_000)])
    frequencies = 1 / np.arange(1, len(vocabulary) + 1)
    frequencies /= frequencies.sum()
    journal = Journal(folder)
    for start in range(0, n, ROWS):
        words = draws.choice(vocabulary, size=(ROWS, WORDS), p=frequencies)
        rows = {
            "key": [key(row // SAMPLES) for row in range(start, start + ROWS)],
            "sample_index": [row % SAMPLES for row in range(start, start + ROWS)],
            "text": [" ".join(text) for text in words.tolist()],
            "finish_reason": "stop",
            "prompt_tokens": 300,
            "completion_tokens": 60,
            "shared_prompt_tokens": 280,
            "error": None,
        }
        journal.append(pl.DataFrame(rows, schema=SCHEMA))
    return n


def look_up(folder: Path, prompts: int) -> int:
    """Finds the completions of the first prompts."""
    return Journal(folder).lookup(pl.Series([key(prompt) for prompt in range(prompts)], dtype=pl.String)).height


def merge(folder: Path) -> int:
    """What `selftaught journal compact` does."""
    return compact(Journal(folder)).shards_after


def count(folder: Path) -> int:
    """What `selftaught journal stats` does."""
    return contents(Journal(folder)).completions


def key(prompt: int) -> str:
    """As real keys are: 64 hex digits."""
    return digest("completion", prompt)


def _alone(work: Callable[..., int], *arguments: object) -> Measured:
    """Does it in a new process, so that nothing is warm but the disk, and the peak is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (work, *arguments))


def _timed(work: Callable[..., int], *arguments: object) -> Measured:
    started = time.perf_counter()
    rows = work(*arguments)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return Measured(seconds, peak, rows)
