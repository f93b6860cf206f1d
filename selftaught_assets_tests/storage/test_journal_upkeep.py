"""Merging shards changes nothing that a lookup finds, whatever happens meanwhile; counting counts each once."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught_assets.errors import UserError
from selftaught_assets.storage import journal as journal_module
from selftaught_assets.storage.journal import SCHEMA, Compaction, Journal, compact, contents
from selftaught_assets.storage.journal_files import LocalFiles
from selftaught_assets_tests.storage.rows import completions, found, shards

KEYS = "abcdef"
ROWS = st.tuples(st.sampled_from(KEYS), st.integers(0, 2), st.booleans())
SHARDS = st.lists(st.lists(ROWS, min_size=1, max_size=6), min_size=1, max_size=6)
STEPS = st.integers(0, 20)


class Killed(BaseException):
    pass


class Interfered(LocalFiles):
    """A folder in which something happens between two operations on files."""

    def __init__(self, folder: Path, step: int, happens: Callable[[], object]) -> None:
        super().__init__(folder)
        self._left = step
        self._happens = happens

    def _next(self) -> None:
        self._left -= 1
        if self._left == -1:
            self._happens()

    def sizes(self) -> dict[str, int]:
        self._next()
        return super().sizes()

    def on_disk(self, names: list[str]) -> list[Path]:
        paths = super().on_disk(names)
        self._next()
        return paths

    def write(self, name: str, content: bytes) -> None:
        self._next()
        super().write(name, content)

    def remove(self, names: list[str]) -> None:
        for name in names:
            self._next()
            super().remove([name])


def kill() -> None:
    raise Killed


def fill(folder: Path, written: list[list[tuple[str, int, bool]]]) -> Journal:
    """A shard for each list; texts tell which row it was, so that two of one sample differ."""
    journal = Journal(folder)
    for number, rows in enumerate(written):
        append(journal, rows, f"shard {number}")
    return journal


def append(journal: Journal, rows: list[tuple[str, int, bool]], text: str) -> None:
    records = [
        (key, sample, f"{text} row {row}", "stop" if good else "failed", 3, 4, 0, None if good else text)
        for row, (key, sample, good) in enumerate(rows)
    ]
    journal.append(pl.DataFrame(records, schema=SCHEMA, orient="row"))


def on_record(folder: Path) -> pl.DataFrame:
    """The distinct samples, failed ones too, without how often each is there."""
    rows = Journal(folder).scan(Journal(folder).shards()).select("key", "sample_index").unique()
    return rows.sort("key", "sample_index").collect()


@pytest.fixture(autouse=True)
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two or three shards of a few rows make a large one, so that merging makes several."""
    monkeypatch.setattr(journal_module, "TARGET_BYTES", 7_000)


@pytest.mark.slow
@given(SHARDS)
def test_merging_never_changes_what_is_found(written: list[list[tuple[str, int, bool]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = fill(Path(folder), written)
        before, recorded = found(journal, *KEYS), on_record(Path(folder))
        counted = contents(journal)
        done = compact(journal)
        assert found(journal, *KEYS).equals(before)
        assert on_record(Path(folder)).equals(recorded)
        assert done.dropped == counted.repeated
        assert contents(journal)._replace(shards=0, bytes=0) == counted._replace(shards=0, bytes=0, repeated=0)
        assert compact(journal).dropped == 0


@pytest.mark.slow
@given(SHARDS, STEPS)
def test_a_kill_at_any_moment_loses_nothing(written: list[list[tuple[str, int, bool]]], step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = found(fill(Path(folder), written), *KEYS)
        victim = Journal(Path(folder))
        victim.files = Interfered(Path(folder), step, kill)
        with suppress(Killed):
            compact(victim)
        assert found(Journal(Path(folder)), *KEYS).equals(before)
        compact(Journal(Path(folder)))
        assert found(Journal(Path(folder)), *KEYS).equals(before)
        assert contents(Journal(Path(folder))).repeated == 0


@given(SHARDS, STEPS, STEPS)
def test_two_that_merge_at_once_lose_nothing(
    written: list[list[tuple[str, int, bool]]], step: int, inner_step: int
) -> None:
    """The second one begins at any moment of the first, and is killed at any moment of its own, or never."""
    with tempfile.TemporaryDirectory() as folder:
        before = found(fill(Path(folder), written), *KEYS)

        def merge_too() -> None:
            other = Journal(Path(folder))
            other.files = Interfered(Path(folder), inner_step, kill)
            with suppress(Killed):
                compact(other)

        first = Journal(Path(folder))
        first.files = Interfered(Path(folder), step, merge_too)
        compact(first)
        assert found(Journal(Path(folder)), *KEYS).equals(before)


@given(SHARDS, st.lists(ROWS, min_size=1, max_size=6), STEPS)
def test_what_is_appended_while_shards_are_merged_is_younger_and_stays(
    written: list[list[tuple[str, int, bool]]], added: list[tuple[str, int, bool]], step: int
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        expected = fill(Path(other), written)
        append(expected, added, "added")
        fill(Path(one), written)
        writer, merger = Journal(Path(one)), Journal(Path(one))
        merger.files = Interfered(Path(one), step, lambda: append(writer, added, "added"))
        compact(merger)
        if merger.files._left >= 0:
            append(writer, added, "added")
        assert found(writer, *KEYS).equals(found(expected, *KEYS))


@given(SHARDS, st.integers(0, 4))
def test_a_lookup_whose_shards_vanish_looks_again(written: list[list[tuple[str, int, bool]]], step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = found(fill(Path(folder), written), *KEYS)
        reader = Journal(Path(folder))
        reader.files = Interfered(Path(folder), step, lambda: compact(Journal(Path(folder))))
        assert found(reader, *KEYS).equals(before)


def test_small_shards_become_one_and_a_second_time_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "TARGET_BYTES", 2**20)
    journal = Journal(tmp_path)
    for key in KEYS:
        journal.append(completions(key))
    done = compact(journal)
    assert (done.shards_before, done.shards_after, done.dropped) == (6, 1, 0)
    assert done.bytes_after < done.bytes_before
    (shard,) = shards(tmp_path)
    assert compact(journal) == Compaction(1, 1, done.bytes_after, done.bytes_after, dropped=0)
    assert shards(tmp_path) == [shard]
    assert not list(tmp_path.glob(".*"))


def test_large_shards_have_keys_of_their_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for start in range(0, 200, 5):
        journal.append(completions(*(f"{number:03}" for number in range(start, start + 5))))
    compact(journal)
    ranges = sorted(
        pl.read_parquet(shard).select(first=pl.col("key").min(), last=pl.col("key").max()).row(0)
        for shard in shards(tmp_path)
    )
    assert len(ranges) > 2
    assert all(last < following for (_, last), (following, _) in pairwise(ranges))


def test_a_failure_goes_once_it_succeeded_and_the_newest_stays_until_then(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for rows in (completions("a", error="first"), completions("b", error="first"), completions("b", error="second")):
        journal.append(rows)
    journal.append(completions("a"))
    assert compact(journal).dropped == 4
    rows = pl.concat([pl.read_parquet(shard) for shard in shards(tmp_path)]).sort("key", "sample_index")
    assert rows.equals(pl.concat([completions("a"), completions("b", error="second")]))


def test_counts_take_each_completion_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for rows in (completions("a", "b"), completions("b", "c"), completions("d", "b", error="no")):
        journal.append(rows)
    (tmp_path / "0.parquet").write_bytes(b"PAR1")
    counted = contents(journal)
    assert counted._replace(bytes=0) == (3, 0, 6, 2, 4, 4, 18, 24, 1)
    assert counted.bytes == sum(shard.stat().st_size for shard in shards(tmp_path))


def test_a_damaged_shard_is_set_aside_and_the_others_are_merged(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for key in "abc":
        journal.append(completions(key))
    damaged = shards(tmp_path)[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:4] + bytes(400) + content[404:])
    assert compact(journal).shards_before == 2
    assert found(journal, *KEYS).equals(completions("a", "c"))
    assert damaged.with_name(f"{damaged.name}.corrupt").read_bytes() != content


def test_an_empty_journal_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "none")
    assert compact(journal) == (0, 0, 0, 0, 0)
    assert contents(journal) == (0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert not (tmp_path / "none").exists()


def test_a_full_disk_leaves_the_old_shards(tmp_path: Path) -> None:
    class Full(LocalFiles):
        def write(self, name: str, content: bytes) -> None:
            raise UserError("no space left")

    journal = Journal(tmp_path)
    for key in KEYS:
        journal.append(completions(key))
    before = shards(tmp_path)
    journal.files = Full(tmp_path)
    with pytest.raises(UserError, match="no space left"):
        compact(journal)
    assert shards(tmp_path) == before


WRITES = st.lists(st.tuples(st.integers(0, 1), st.lists(ROWS, min_size=1, max_size=4)), min_size=1, max_size=9)
"""Which of two writers appends what, in turn."""


def written(folder: Path, writes: list[tuple[int, list[tuple[str, int, bool]]]], merging: int) -> list[Journal]:
    """The writers, after all of it, where each merges so many shards of its own."""
    writers = [Journal(folder), Journal(folder)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "SMALL_SHARDS", merging)
        for number, (writer, rows) in enumerate(writes):
            append(writers[writer], rows, f"shard {number}")
    return writers


@settings(max_examples=50)
@given(WRITES, st.integers(2, 4))
def test_what_writers_merge_by_themselves_changes_nothing_that_is_found(
    writes: list[tuple[int, list[tuple[str, int, bool]]]], merging: int
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        written(Path(other), writes, merging=100)
        written(Path(one), writes, merging)
        assert found(Journal(Path(one)), *KEYS).equals(found(Journal(Path(other)), *KEYS))
        assert on_record(Path(one)).equals(on_record(Path(other)))
        assert len(shards(Path(one))) <= min(2 * merging, len(writes))


@settings(max_examples=50)
@given(WRITES, st.lists(ROWS, min_size=1, max_size=4), STEPS)
def test_a_writer_that_is_killed_while_it_merges_loses_nothing(
    writes: list[tuple[int, list[tuple[str, int, bool]]]], added: list[tuple[str, int, bool]], step: int
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        without, *_ = written(Path(other), writes, merging=100)
        victim, *_ = written(Path(one), writes, merging=100)
        victim.files = Interfered(Path(one), step, kill)
        expected = [found(without, *KEYS)]
        append(without, added, "added")
        expected.append(found(without, *KEYS))
        returned = False
        with pytest.MonkeyPatch.context() as patched, suppress(Killed):
            patched.setattr(journal_module, "SMALL_SHARDS", 2)
            append(victim, added, "added")
            returned = True
        assert any(found(Journal(Path(one)), *KEYS).equals(each) for each in expected[returned:])
        compact(Journal(Path(one)))
        assert any(found(Journal(Path(one)), *KEYS).equals(each) for each in expected[returned:])


@settings(max_examples=50)
@given(WRITES, st.lists(ROWS, min_size=1, max_size=4), STEPS, st.sampled_from(["the other writer", "the command"]))
def test_others_may_merge_while_a_writer_does(
    writes: list[tuple[int, list[tuple[str, int, bool]]]], added: list[tuple[str, int, bool]], step: int, who: str
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        writer, neighbour = written(Path(one), writes, merging=100)
        expected, _ = written(Path(other), writes, merging=100)
        append(expected, added, "added")
        merge = neighbour._merge_small if who == "the other writer" else lambda: compact(Journal(Path(one)))
        writer.files = Interfered(Path(one), step, merge)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(journal_module, "SMALL_SHARDS", 2)
            append(writer, added, "added")
        assert found(Journal(Path(one)), *KEYS).equals(found(expected, *KEYS))


def test_the_shards_of_a_long_run_stay_few_and_no_row_is_rewritten_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SMALL_SHARDS", 8)
    monkeypatch.setattr(journal_module, "SMALL_BYTES", 5_000)
    journal, bytes_written = Journal(tmp_path), 0

    class Counting(LocalFiles):
        def write(self, name: str, content: bytes) -> None:
            nonlocal bytes_written
            bytes_written += len(content)
            super().write(name, content)

    journal.files = Counting(tmp_path)
    keys = [f"{number:03}" for number in range(300)]
    for key in keys:
        journal.append(completions(key))
    assert found(journal, *keys).equals(completions(*keys))
    assert len(shards(tmp_path)) < 20
    appended = 300 * contents(journal).bytes / contents(journal).shards
    assert bytes_written < 4 * appended


def test_a_writer_that_cannot_merge_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(LocalFiles):
        def write(self, name: str, content: bytes) -> None:
            if len(shards(tmp_path)) == 3:
                raise UserError("no space left")
            super().write(name, content)

    monkeypatch.setattr(journal_module, "SMALL_SHARDS", 3)
    journal = Journal(tmp_path)
    journal.files = Full(tmp_path)
    for key in "abc":
        journal.append(completions(key))
    assert "not merged (no space left); nothing is lost" in caplog.text
    assert found(journal, *KEYS).equals(completions("a", "b", "c"))
    with pytest.raises(UserError, match="no space left"):
        journal.append(completions("d"))
