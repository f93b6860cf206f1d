"""The generation journal: what was appended is found, whole, by content of its key, and damage costs only itself."""

import errno
import logging
import os
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import SCHEMA, Journal, MemoryJournal
from selftaught_assets.storage.journal_files import LocalFiles
from selftaught_assets_tests.storage.rows import completions, found, shards


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


@pytest.mark.parametrize("memory", [False, True])
def test_a_failed_completion_is_on_record_and_not_found(memory: bool, tmp_path: Path) -> None:
    journal = MemoryJournal() if memory else Journal(tmp_path)
    journal.append(pl.concat([completions("a", error="the server said no"), completions("b")]))
    assert found(journal, "a", "b").equals(completions("b"))
    journal.append(completions("a"))
    assert found(journal, "a", "b").equals(completions("a", "b"))


def test_a_prompt_that_was_too_long_once_is_not_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(completions("a").with_columns(finish_reason=pl.lit("prompt_too_long")))
    assert found(journal, "a").is_empty()
    journal.append(completions("a"))
    assert found(journal, "a").equals(completions("a"))


def test_of_two_completions_of_one_sample_the_older_one_is_found(tmp_path: Path) -> None:
    Journal(tmp_path).append(completions("a", text="older"))
    Journal(tmp_path).append(completions("a", "b", text="newer"))
    expected = pl.concat([completions("a", text="older"), completions("b", text="newer")])
    assert found(Journal(tmp_path), "a", "b").equals(expected)


@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten", "holed", "foreign", "other_types", "more_columns"])
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
        case "holed":
            shard.write_bytes(content[:4] + bytes(400) + content[404:])
        case "foreign":
            pl.DataFrame({"other": [1]}).write_parquet(shard)
        case "other_types":
            pl.read_parquet(shard).cast({"sample_index": pl.String}).write_parquet(shard)
        case "more_columns":
            pl.read_parquet(shard).with_columns(model=pl.lit("m")).write_parquet(shard)
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


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/pairs cannot be written: not a directory"):
        Journal(tmp_path / "file" / "pairs").append(completions("a"))


def test_a_shard_that_is_listed_and_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    class Imagining(LocalFiles):
        def sizes(self) -> dict[str, int]:
            return super().sizes() | {"9.parquet": 1}

    journal = Journal(tmp_path)
    journal.append(completions("a"))
    journal.files = Imagining(tmp_path)
    with pytest.raises(UserError, match="cannot be read: a shard that is listed does not exist"):
        found(journal, "a")


def test_what_a_listing_missed_while_shards_were_merged_is_found(tmp_path: Path) -> None:
    """As a listing does that has passed the new shard's place before it came, and finds the old one gone."""

    class Overtaken(LocalFiles):
        listings = 0

        def sizes(self) -> dict[str, int]:
            self.listings += 1
            return {} if self.listings == 1 else super().sizes()

    journal = Journal(tmp_path)
    journal.append(completions("a"))
    journal.files = Overtaken(tmp_path)
    assert found(journal, "a").equals(completions("a"))
