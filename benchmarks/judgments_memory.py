"""How much memory the stage `judgments` takes: 100,000 pairs × 10 judgments, prompts of 2,000 tokens.

The stage runs in a process of its own, from the table of pairs on disk to the table of judgments there, versions of
both tables included, with an engine that answers at once. The text of the prompts is about as large as the mark would
allow four times over, so a stage that held them, or their tokens, would be far above it.

Results are the peak of resident memory, beside the mark of 3 GiB, and the seconds from the start of the stage until
the engine is asked for the first judgment, beside that of 10.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from benchmarks.measuring import Result, Side, compared, in_process, peak_gib
from benchmarks.pipeline_null import NullEngine
from selftaught_assets.engines.protocol import Completion, Request

PAIRS = 100_000
JUDGMENTS = 10
WORDS = 715
"""Of each of the two responses: together with the template, 2,000 tokens."""
MARK_GIB = 3.0
MARK_SECONDS = 10.0


class WatchedEngine(NullEngine):
    """A null engine that remembers when it was first asked."""

    asked_at: float | None = None

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            self.asked_at = self.asked_at or time.perf_counter()
            yield from super().generate([request])


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Makes the pairs, measures and prints."""
    pairs = 200 if small else PAIRS
    with tempfile.TemporaryDirectory(prefix="selftaught-bench-") as folder:
        table = Path(folder) / "pairs.parquet"
        generated_pairs(pairs).write_parquet(table)
        done = [in_process("benchmarks.judgments_memory", table) for _ in range(1 if small else min(rounds, 2))]
    print(f"{done[0]['tokens']:,.0f} tokens a prompt, {done[0]['seconds']:.0f} s in all")
    peak, begins = ([one[name] for one in done] for name in ("peak_gib", "begins"))
    n = pairs * JUDGMENTS
    return {
        "judgments_memory": compared(Side("peak memory", peak, "GiB"), Side("mark", [MARK_GIB], "GiB"), n),
        "judgments_begin": compared(Side("sampling begins", begins, "s"), Side("mark", [MARK_SECONDS], "s"), n),
    }


def measure(table: Path) -> dict[str, float]:
    """Peak memory in GiB, seconds until sampling begins and in all, and tokens of a prompt."""
    from selftaught_assets.engines.asking import judge_tasks
    from selftaught_assets.engines.journalled import generate
    from selftaught_assets.method.judging import judging_requests, judgments_table
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.journal import Journal
    from selftaught_assets.storage.tables import read_table, table_version, write_table

    recipe = load_recipe("demo")
    engine = WatchedEngine(recipe.seed_model)
    started = time.perf_counter()
    pairs = read_table(table)
    table_version(pairs)
    requests = judging_requests(pairs, positions="random", seed=1)
    tasks = judge_tasks(recipe, requests, JUDGMENTS)
    journal = Journal(table.parent / "journal")
    answers = generate(engine, journal, tasks, recipe.judgments.sampling, lambda _: None).frame
    judgments = judgments_table(requests, answers, judge=engine.model_digest)
    table_version(judgments)
    write_table(table.parent / "judgments.parquet", judgments)
    ended = time.perf_counter()
    if judgments.height != pairs.height * JUDGMENTS or judgments["verdict"].unique().to_list() != ["A"]:
        raise RuntimeError("Rows or verdicts are missing.")
    return {
        "peak_gib": peak_gib(),
        "begins": engine.asked_at - started,
        "seconds": ended - started,
        "tokens": float(answers["prompt_tokens"].mean()),
    }


def generated_pairs(pairs: int) -> pl.DataFrame:
    """Pairs in the words of the tiny world, whose responses are cut out of one long text."""
    import numpy as np

    draws = np.random.default_rng(0)
    words = np.array([f"{number:02}" for number in range(10, 100)])
    text = " ".join(draws.choice(words, size=2_000_000))
    responses = (
        [text[3 * at : 3 * (at + WORDS) - 1] for at in draws.integers(0, 2_000_000 - WORDS, pairs)] for _ in "12"
    )
    return pl.DataFrame(
        {
            "pair_id": [f"{number:016x}" for number in range(pairs)],
            "instruction": "Sort the numbers up : 27 19 24 " + pl.int_range(pairs, eager=True).cast(pl.String),
            "chosen": next(responses),
            "rejected": next(responses),
            "drop_reason": pl.Series([None] * pairs, dtype=pl.String),
        }
    )


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
