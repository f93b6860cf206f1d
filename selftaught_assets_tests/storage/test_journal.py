"""The generation journal: what was appended is found, whole, by content of its key, and damage costs only itself."""

import errno
import logging
import multiprocessing
import os
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import SCHEMA, Journal


def completions(*keys: str, samples: int = 2) -> pl.DataFrame:
    rows = [(key, index, f"text {key} {index} é🦉", "stop", 3, 4) for key in keys for index in range(samples)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def found(journal: Journal, *keys: str) -> pl.DataFrame:
    return journal.lookup(pl.Series(keys, dtype=pl.String)).sort("key", "sample_index")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def append_many(folder: Path, worker: int) -> None:
    for index in range(20):
        Journal(folder).append(completions(f"{worker}-{index}"))


def test_an_empty_journal_has_nothing(tmp_path: Path) -> None:
    assert found(Journal(tmp_path / "none"), "a").equals(SCHEMA.to_frame())


def test_what_was_appended_is_found_by_its_key_alone(tmp_path: Path) -> None:
    Journal(tmp_path).append(completions("a", "b"))
    Journal(tmp_path).append(completions("c"))
    assert found(Journal(tmp_path), "c", "a", "z").equals(completions("a", "c"))


def test_a_completion_that_two_processes_sampled_is_found_once(tmp_path: Path) -> None:
    for _ in range(2):
        Journal(tmp_path).append(completions("a"))
    assert found(Journal(tmp_path), "a", "a").equals(completions("a"))


def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    Journal(tmp_path).append(SCHEMA.to_frame())
    assert not list(tmp_path.iterdir())


def test_many_processes_append_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(tmp_path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    keys = [f"{worker}-{index}" for worker in range(3) for index in range(20)]
    assert found(Journal(tmp_path), *keys).equals(completions(*sorted(keys)))


@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten", "foreign"])
def test_a_damaged_shard_is_set_aside_with_a_warning_and_the_others_are_read(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    journal.append(completions("a"))
    journal.append(completions("b"))
    shard = shards(tmp_path)[0]
    content = shard.read_bytes()
    match damage:
        case "cut":
            shard.write_bytes(content[: len(content) // 2])
        case "emptied":
            shard.write_bytes(b"")
        case "overwritten":
            shard.write_bytes(content[:40] + bytes(len(content) - 80) + content[-40:])
        case "foreign":
            pl.DataFrame({"other": [1]}).write_parquet(shard)
    with caplog.at_level(logging.WARNING):
        assert found(journal, "a", "b").equals(completions("b"))
    assert shard.name in caplog.text
    assert not shard.exists()
    assert shard.with_name(f"{shard.name}.corrupt").exists()
    journal.append(completions("a"))
    assert found(journal, "a", "b").equals(completions("a", "b"))


def test_a_file_that_a_killed_process_left_is_set_aside_once_it_is_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / ".1.parquet.77.partial", tmp_path / ".2.parquet.78.partial"
    for leftover in (old, new):
        leftover.write_bytes(b"PAR1")
    os.utime(old, (0, 0))
    Journal(tmp_path).append(completions("a"))
    assert found(Journal(tmp_path), "a").equals(completions("a"))
    assert new.exists()
    assert not old.exists()
    assert old.name in caplog.text


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.append(completions("a"))
    before = sorted(tmp_path.iterdir())

    def half_written(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(bytes(content)[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half_written)
        with pytest.raises(UserError, match="no space left"):
            journal.append(completions("b"))
    assert sorted(tmp_path.iterdir()) == before
    assert found(journal, "a", "b").equals(completions("a"))
