"""Looking after a journal: counting what is in it, and merging its shards.

Belongs here: what `selftaught journal` does to the journal of one stage. Not here: reading and appending (journal.py).

Only the command merges; no run does it by itself. A run that samples for hours makes a shard of a few hundred
completions every two seconds, and a lookup over thousands of those takes a second (benchmarks/journal_index.py), so
there is nothing to win inside a run, and a process that samples must not spend its time, or that of a device, on
rewriting what is safe already. Merging pays where listing is slow or files are counted: on object stores, in backups.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from selftaught_assets.storage.journal import SET_ASIDE_SUFFIX, SUCCEEDED, Journal

TARGET_BYTES = 64 * 2**20
"""Of a merged shard. About 600,000 judgments of 60 tokens; a few times as much in memory while it is written."""
ROWS_TOGETHER = 20_000
"""Rows that a lookup in a merged shard can skip together."""

_COMPLETION = ["key", "sample_index"]


class Contents(NamedTuple):
    """What is in a journal."""

    shards: int
    bytes: int
    """Of the shards."""
    completions: int
    """Each once, without failed ones."""
    failed: int
    """Samples that have failed so far; the next run asks for them again."""
    repeated: int
    """Rows that merging would drop: completions on record twice, and failures that succeeded or failed again later."""
    prompts: int
    """Distinct ones, by everything that a completion depends on but its sample index."""
    prompt_tokens: int
    """Of the completions, as the next."""
    completion_tokens: int
    set_aside: int
    """Files that were damaged, foreign, or left half-written."""


class Compaction(NamedTuple):
    """What merging did."""

    shards_before: int
    shards_after: int
    bytes_before: int
    bytes_after: int
    dropped: int
    """Rows: repeated completions, and failures that succeeded or failed again later."""


def contents(journal: Journal) -> Contents:
    """Counts what is in a journal. Damaged and foreign shards are set aside, as by a lookup."""

    def count(shards: Sequence[str]) -> tuple[int, int, dict[str, int]]:
        tokens = ["prompt_tokens", "completion_tokens"]
        rows = journal.scan(shards).select(*_COMPLETION, *tokens, succeeded=SUCCEEDED)
        samples = rows.group_by(_COMPLETION).agg(
            pl.col("succeeded").any(), *(pl.col(name).filter("succeeded").first() for name in tokens), rows=pl.len()
        )
        counts = samples.select(
            completions=pl.col("succeeded").sum(),
            failed=(~pl.col("succeeded")).sum(),
            prompts=pl.col("key").n_unique(),
            repeated=pl.col("rows").sum() - pl.len(),
            **{name: pl.col(name).sum() for name in tokens},
        )
        return len(shards), _bytes(journal, shards), counts.collect().row(0, named=True)

    shards, size, counts = journal.undisturbed(count)
    set_aside = sum(name.endswith(SET_ASIDE_SUFFIX) for name in journal.files.sizes())
    return Contents(shards=shards, bytes=size, set_aside=set_aside, **counts)


def compact(journal: Journal) -> Compaction:
    """Merges the shards of a journal into few large ones, sorted by key, and drops rows that no lookup would find.

    Afterwards a lookup finds exactly what it found before, and failures that nothing has made up for are still on
    record. It is safe beside any number of processes that read, append or merge, and against a kill at any moment: the
    new shards hold every row of the old ones that counts, and all of them are in place before the first old one goes.
    What is on record twice in between is found once. A merged shard is as old, by its name, as the oldest that went
    into it, so that the older of two completions is still the one that is found. Where there is nothing to gain,
    nothing is written.

    Raises:
        UserError: the disk is full, or the journal cannot be read or written. Then nothing is lost.
    """
    return journal.undisturbed(lambda shards: _merge(journal, shards))


def _merge(journal: Journal, shards: Sequence[str]) -> Compaction:
    size = _bytes(journal, shards)
    samples = journal.scan(shards).select(_COMPLETION)
    rows, distinct = samples.select(rows=pl.len(), distinct=pl.struct(_COMPLETION).n_unique()).collect().row(0)
    if rows == distinct and len(shards) <= max(1, 2 * size // TARGET_BYTES):
        return Compaction(len(shards), len(shards), size, size, dropped=0)
    for low, high in pairwise(_boundaries(journal, shards, parts=max(1, round(size / TARGET_BYTES)))):
        part = (pl.col("key") >= low) & ((pl.col("key") < high) if high is not None else True)
        kept = _worth_keeping(journal.scan(shards).filter(part).collect())
        journal.write_shard(shards[0].partition("-")[0], kept, rows_together=ROWS_TOGETHER)
    journal.files.remove(shards)
    after = journal.shards()
    return Compaction(len(shards), len(after), size, _bytes(journal, after), dropped=rows - distinct)


def _boundaries(journal: Journal, shards: Sequence[str], parts: int) -> list[str | None]:
    """Keys that cut all of them into parts of about equal size: the first, those in between, and None for the end."""
    keys = journal.scan(shards).select(pl.col("key").drop_nulls().unique().sort()).collect()["key"]
    starts = sorted({part * len(keys) // parts for part in range(parts)}) if len(keys) else []
    return [*(keys[start] for start in starts), None]


def _worth_keeping(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each sample, sorted: the oldest completion, or the newest failure where there is none."""
    ordered = pl.concat([rows.filter(SUCCEEDED), rows.filter(~SUCCEEDED).reverse()])
    return ordered.unique(_COMPLETION, keep="first").sort(_COMPLETION)


def _bytes(journal: Journal, shards: Sequence[str]) -> int:
    sizes = journal.files.sizes()
    return sum(sizes.get(shard, 0) for shard in shards)
