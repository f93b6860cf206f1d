"""The generation journal: every completion ever sampled, so that none is sampled twice.

A journal is a folder of Parquet shards. A shard appears whole, under a name of its own, and never changes, so any
number of processes can append, and a kill loses only what was not yet appended. Names sort by age. There is no index
to keep: Parquet reads single columns, and skips rows that cannot have a key, fast enough
(benchmarks/journal_index.py); who asks for many completions one by one makes an `Index` in memory. A shard's schema
version, where it is not the first, is part of its name, so that listing is enough to see it.

A run makes a shard every two seconds, 43,200 a day, so who writes merges: once 64 of its own shards are smaller than
1 MiB, it makes one of them. It touches no shard of another process, and so needs no agreement with any. `compact`,
which is the command's, merges those of all.
"""

import io
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from upath import UPath

from selftaught_assets.errors import UserError
from selftaught_assets.storage.files import FIRST, written_by_newer
from selftaught_assets.storage.journal_files import files_in

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

SUCCEEDED = ~pl.col("finish_reason").is_in(["failed", "prompt_too_long"])
"""A prompt that was too long may fit another time: the context is the engine's, and no part of the key."""
SHARD_VERSION = FIRST
SUFFIX = ".parquet"
_LATER_VERSION = re.compile(r"\.v([0-9]{1,9})\.parquet")
SET_ASIDE_SUFFIX = ".corrupt"
_FIRST_OF_ITS_KIND = pl.struct("key", "sample_index").is_first_distinct()
_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)


class Index:
    """Which completions are in a journal: 16 bytes for each, so that any of them can be asked for at any time."""

    def __init__(self, rows: pl.DataFrame) -> None:
        """Takes `bits` of keys and sample_index, as `_INDEXED` gives them."""
        rows = rows.drop_nulls().sort("bits")
        self._bits, self._samples = rows["bits"].to_numpy(), rows["sample_index"].to_numpy()

    def samples(self, key: str) -> list[int]:
        """The sample indices under a key that is a digest; of such keys no two have the same first 64 bits."""
        if not len(self._bits):
            return []
        bits = np.uint64(int(key[:_HEX_DIGITS], 16))
        low, high = (self._bits.searchsorted(bits, side=side) for side in ("left", "right"))
        return self._samples[low:high].tolist()


_HEX_DIGITS = 16
_INDEXED = (
    pl.col("key").str.head(_HEX_DIGITS).str.to_integer(base=16, dtype=pl.UInt64, strict=False).alias("bits"),
    "sample_index",
)


class MemoryJournal:
    """A journal for completions that are not needed again: kept as long as the object lives."""

    def __init__(self) -> None:
        self._rows = SCHEMA.to_frame()

    def lookup(self, keys: pl.Series) -> pl.DataFrame:
        """Every completion under one of the keys, as `Journal.lookup` finds them."""
        return self._rows.filter(_under(keys))

    def index(self) -> Index:
        """Which completions `lookup` would find."""
        return Index(self._rows.filter(SUCCEEDED).select(_INDEXED))

    def append(self, rows: pl.DataFrame) -> None:
        """Adds completions: a frame of SCHEMA."""
        self._rows = pl.concat([self._rows, rows])


class Journal:
    """The completions in one folder, on a disk or in an object store."""

    def __init__(self, folder: Path | UPath) -> None:
        self.files = files_in(folder)
        self._small: list[str] = []
        """Shards that this object has written and may merge, oldest first."""

    def lookup(self, keys: pl.Series) -> pl.DataFrame:
        """Every completion under one of the keys, once each (the oldest): a frame of SCHEMA, oldest shards first.

        Failed ones are recorded but not found, so that they are tried again. So are prompts that were
        too long for the context of then.

        Damaged and foreign shards, and files that a killed process left half-written, are set aside (renamed to
        `*.corrupt`) with a warning; what was in them counts as never sampled.

        Raises:
            UserError: the journal cannot be read.
        """
        found = self.undisturbed(lambda shards: self.scan(shards).filter(_under(keys)).collect())
        return found.filter(_FIRST_OF_ITS_KIND)

    def index(self) -> Index:
        """Which completions `lookup` would find. Damaged shards are set aside as there, and it raises the same."""
        return Index(self.undisturbed(lambda shards: self.scan(shards).filter(SUCCEEDED).select(_INDEXED).collect()))

    def append(self, rows: pl.DataFrame) -> None:
        """Adds completions, durably: when it returns they survive a crash of the machine.

        Now and then it merges what it has added before; that this fails is told, but loses nothing.

        Args:
            rows: a frame of SCHEMA.

        Raises:
            UserError: the disk is full, or the store refuses. Then none of the rows are in the journal.
        """
        if rows.is_empty():
            return
        self._remember(*self.write_shard(f"{time.time_ns():020}", rows))
        if len(self._small) >= SMALL_SHARDS:
            self._merge_small()

    def undisturbed(self, work: Callable[[Sequence[str]], _Result]) -> _Result:
        """Does what reads shards, given the names of all there are, oldest first; again if they change underneath.

        A shard can vanish meanwhile, since another process has merged it into a new one or set it aside; and it can
        turn out to be damaged or foreign, and is then set aside. In both cases the work starts again on what is there.
        """
        for leftover in self.files.abandoned():
            self._set_aside(leftover, "was never finished")
        while True:
            shards = self.shards()
            try:
                return work(shards)
            except FileNotFoundError:
                problem = "a shard that is listed does not exist"
            except OSError as error:
                raise self._unreadable(str(error)) from None
            except pl.exceptions.PolarsError as error:
                problem = str(error)
                self._set_aside_damaged(shards)
            if self.shards() == shards:
                raise self._unreadable(problem)

    def shards(self) -> list[str]:
        """The names of all shards, oldest first. Raises UserError if a newer release wrote one of them.

        No listing is a snapshot: while one is made, another process may put a merged shard where the listing has
        passed, and remove the ones it replaces where it has not. So there are two; the second one sees what the first
        one missed, and what is in the first one only is found out when it is read.
        """
        listed = self.files.sizes().keys() | self.files.sizes().keys()
        shards = sorted(name for name in listed if name.endswith(SUFFIX) and not name.startswith("."))
        for name in shards:
            marked = _LATER_VERSION.search(name)
            if marked and int(marked[1]) > SHARD_VERSION:
                raise written_by_newer(f"The shard {self.files.place}/{name}", int(marked[1]), SHARD_VERSION)
        return shards

    def scan(self, shards: Sequence[str]) -> pl.LazyFrame:
        """The rows of shards, in order. Raises FileNotFoundError, now or when collected, if one has vanished."""
        if not shards:
            return SCHEMA.to_frame().lazy()
        return pl.scan_parquet(self.files.on_disk(shards), schema=SCHEMA, glob=False)

    def write_shard(self, age: str, rows: pl.DataFrame, *, rows_together: int | None = None) -> tuple[str, int]:
        """Puts a shard in place; its name begins with `age`, which names sort by. See `append` for what it raises.

        Args:
            age: nanoseconds in 20 digits, or what the name of another shard begins with.
            rows: a frame of SCHEMA.
            rows_together: size of the groups that a lookup can skip; null makes one group of all but the longest.

        Returns:
            Its name and its bytes.
        """
        content = io.BytesIO()
        rows = rows.select(SCHEMA.names()).cast(dict(SCHEMA))
        rows.write_parquet(content, compression="zstd", row_group_size=rows_together)
        version = "" if SHARD_VERSION == FIRST else f".v{SHARD_VERSION}"
        name = f"{age}-{uuid.uuid4().hex[:12]}{version}{SUFFIX}"
        self.files.write(name, content.getvalue())
        return name, content.tell()

    def _remember(self, shard: str, size: int) -> None:
        if size < SMALL_BYTES:
            self._small.append(shard)

    def _merge_small(self) -> None:
        """Makes one shard of the small ones. If they cannot be read or written, they stay, for the command to merge."""
        small, self._small = self._small, []
        try:
            if (merged := _merge_own(self, small)) is not None:
                self._remember(*merged)
        except FileNotFoundError:
            pass  # Another process has merged them, or set one aside.
        except (UserError, OSError, pl.exceptions.PolarsError) as error:
            problem = " ".join(str(error).split())[:200]
            _logger.warning("Journal: shards of %s are not merged (%s); nothing is lost.", self.files.place, problem)

    def _set_aside_damaged(self, shards: Sequence[str]) -> None:
        for shard in shards:
            try:
                self.scan([shard]).collect()
            except FileNotFoundError:
                continue  # Another process has set it aside.
            except pl.exceptions.PolarsError as error:
                self._set_aside(shard, f"is damaged or no shard of a journal ({' '.join(str(error).split())[:200]})")

    def _set_aside(self, name: str, problem: str) -> None:
        aside = f"{name.removeprefix('.')}{SET_ASIDE_SUFFIX}"
        try:
            self.files.rename(name, aside)
        except FileNotFoundError:
            return  # Another process was faster.
        _logger.warning(
            "Journal: %s/%s %s; it is now %s, and its completions are sampled again.",
            self.files.place,
            name,
            problem,
            aside,
        )

    def _unreadable(self, problem: str) -> UserError:
        return UserError(f"The journal {self.files.place} cannot be read: {' '.join(problem.split())[:200]}.")


def _under(keys: pl.Series) -> pl.Expr:
    return SUCCEEDED & pl.col("key").is_in(keys.unique().implode())


TARGET_BYTES = 64 * 2**20
"""Of a merged shard. About 600,000 judgments of 60 tokens; a few times as much in memory while it is written."""
ROWS_TOGETHER = 20_000
"""Rows that a lookup in a merged shard can skip together."""

SMALL_SHARDS = 64
"""So many small shards of its own a writer merges."""
SMALL_BYTES = TARGET_BYTES // SMALL_SHARDS
"""A shard of this size is not merged by its writer any more, so no row is rewritten often."""

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


def _merge_own(journal: Journal, own: Sequence[str]) -> tuple[str, int] | None:
    """Makes one shard of a writer's own; name and bytes of it, or None where there are not two of them any more.

    It is as old, by its name, as the oldest of them, so rows seem older afterwards. Shards of other writers that are of
    an age in between are therefore looked at: what one of them has on record before is dropped here, so that a
    lookup still finds the older one. Of two writers only the one with the younger row ever drops it.
    """
    shards = journal.shards()
    places = [place for place, shard in enumerate(shards) if shard in set(own)]
    if len(places) < 2:
        return None
    rows = [
        journal.scan([shard])
        .select(SCHEMA.names() if shard in own else [*_COMPLETION, "finish_reason"])
        .with_columns(own=pl.lit(shard in own))
        for shard in shards[places[0] : places[-1] + 1]
    ]
    kept = _worth_keeping(pl.concat(rows, how="diagonal").collect()).filter("own")
    mine = [shards[place] for place in places]
    merged = None
    if kept.height:
        merged = journal.write_shard(mine[0].partition("-")[0], kept, rows_together=ROWS_TOGETHER)
    journal.files.remove(mine)
    return merged


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
