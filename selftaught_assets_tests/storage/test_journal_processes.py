"""Real processes on one journal at once: some append and look up, one merges, and nothing is lost or damaged."""

import multiprocessing
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from upath import UPath

from selftaught_assets.storage import journal as journal_module
from selftaught_assets.storage.journal import Journal, compact, contents
from selftaught_assets_tests.storage.rows import completions, found

WRITERS = 2
APPENDS = 60


def key(writer: int, number: int) -> str:
    return f"{writer}-{number:02}"


def append_and_look_up(folder: Path | UPath, writer: int) -> None:
    """After each append everything that this process ever appended is found. It merges its own shards meanwhile."""
    journal_module.SMALL_SHARDS = 8
    journal = Journal(folder)
    mine: list[str] = []
    for number in range(APPENDS):
        journal.append(completions(key(writer, number), "shared"))
        mine.append(key(writer, number))
        assert found(journal, *mine, "shared").equals(completions(*mine, "shared"))


def merge_until(folder: Path | UPath, ended: Event) -> None:
    merged = 0
    while not ended.is_set():
        done = compact(Journal(folder))
        merged += done.shards_after < done.shards_before
    assert merged > 0


def work_at_once(folder: Path | UPath) -> None:
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    merger = context.Process(target=merge_until, args=(folder, ended))
    writers: list[SpawnProcess] = [
        context.Process(target=append_and_look_up, args=(folder, writer)) for writer in range(WRITERS)
    ]
    for process in (merger, *writers):
        process.start()
    for process in writers:
        process.join()
    ended.set()
    merger.join()
    assert [process.exitcode for process in (merger, *writers)] == [0] * (WRITERS + 1)


def check(folder: Path | UPath) -> None:
    keys = sorted(key(writer, number) for writer in range(WRITERS) for number in range(APPENDS))
    assert found(Journal(folder), *keys, "shared").equals(completions(*keys, "shared"))
    compact(Journal(folder))
    counted = contents(Journal(folder))
    assert (counted.completions, counted.repeated, counted.set_aside) == (2 * (len(keys) + 1), 0, 0)


def test_on_a_disk(tmp_path: Path) -> None:
    work_at_once(tmp_path)
    check(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_in_an_object_store(bucket: UPath) -> None:
    work_at_once(bucket)
    check(bucket)
