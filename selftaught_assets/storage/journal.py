"""The generation journal: every completion ever sampled, so that none is sampled twice (DESIGN rules 2 and 3).

Belongs here: the shards on disk, what is found in them again, and what happens to damaged ones. Not here: what a key is
made of, and who asks (engines/journalled.py).

A journal is a folder of Parquet shards. A shard is written aside, synced and renamed, under a name of its own, so any
number of processes can append, and a kill loses only what was not yet appended.
"""

import io
import logging
import time
import uuid
from pathlib import Path

import polars as pl

from selftaught_assets.storage.files import written_aside

SCHEMA = pl.Schema(
    {
        "key": pl.String,
        "sample_index": pl.Int64,
        "text": pl.String,
        "finish_reason": pl.String,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "shared_prompt_tokens": pl.Int64,
        "error": pl.String,
    }
)
"""One row is one completion: `key` stands for everything about it but the sample index."""

_SUCCEEDED = pl.col("finish_reason") != "failed"
_ABANDONED_AFTER_SECONDS = 600.0
_logger = logging.getLogger(__name__)


class MemoryJournal:
    """The same for completions that nobody asks for again: kept as long as the object lives."""

    def __init__(self) -> None:
        self._rows = SCHEMA.to_frame()

    def lookup(self, keys: pl.Series) -> pl.DataFrame:
        """Every completion under one of the keys, as `Journal.lookup` finds them."""
        return self._rows.filter(pl.col("key").is_in(keys.unique().implode()) & _SUCCEEDED)

    def append(self, rows: pl.DataFrame) -> None:
        """Adds completions: a frame of SCHEMA."""
        self._rows = pl.concat([self._rows, rows])


class Journal:
    """The completions in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lookup(self, keys: pl.Series) -> pl.DataFrame:
        """Every completion under one of the keys, once each: a frame of SCHEMA, in no particular order.

        Failed ones are on record, but not found: whoever asks gets another try at them.

        Damaged and foreign shards, and files that a killed process left half-written, are set aside (renamed to
        `*.corrupt`) with a warning; what was in them counts as never sampled.
        """
        self._set_aside_abandoned()
        try:
            return self._find(keys)
        except (pl.exceptions.PolarsError, OSError):
            self._set_aside_damaged()
            return self._find(keys)

    def append(self, rows: pl.DataFrame) -> None:
        """Adds completions, durably: when it returns they survive a crash of the machine.

        Args:
            rows: a frame of SCHEMA.

        Raises:
            UserError: the disk is full. Then none of the rows are in the journal.
        """
        if rows.is_empty():
            return
        content = io.BytesIO()
        rows.select(SCHEMA.names()).cast(dict(SCHEMA)).write_parquet(content, compression="zstd")
        name = f"{time.time_ns():020}-{uuid.uuid4().hex[:12]}.parquet"
        with written_aside(self._folder / name) as aside:
            aside.write_bytes(content.getbuffer())

    def _shards(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.parquet") if not path.name.startswith("."))

    def _find(self, keys: pl.Series) -> pl.DataFrame:
        shards = self._shards()
        if not shards:
            return SCHEMA.to_frame()
        wanted = pl.LazyFrame({"key": keys.unique()}, schema={"key": pl.String})
        rows = pl.scan_parquet(shards, schema=SCHEMA, glob=False).filter(_SUCCEEDED)
        found = rows.join(wanted, on="key", how="semi").collect()
        return found.unique(["key", "sample_index"], keep="first", maintain_order=True)

    def _set_aside_damaged(self) -> None:
        for shard in self._shards():
            try:
                pl.scan_parquet(shard, schema=SCHEMA, glob=False).collect()
            except FileNotFoundError:
                continue  # Another process has set it aside.
            except (pl.exceptions.PolarsError, OSError) as error:
                self._set_aside(shard, f"is damaged or no shard of a journal ({' '.join(str(error).split())[:200]})")

    def _set_aside_abandoned(self) -> None:
        for leftover in self._folder.glob(".*.partial"):
            try:
                age = time.time() - leftover.stat().st_mtime
            except FileNotFoundError:
                continue  # Another process has finished or removed it.
            if age > _ABANDONED_AFTER_SECONDS:
                self._set_aside(leftover, "was never finished")

    def _set_aside(self, path: Path, problem: str) -> None:
        aside = path.with_name(f"{path.name.removeprefix('.')}.corrupt")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return  # Another process was faster.
        _logger.warning(
            "Journal: %s %s; it is now %s, and its completions are sampled again.", path, problem, aside.name
        )
