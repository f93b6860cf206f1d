"""Whatever a user names as a file, reading it ends, and memory stays bounded."""

import gzip
import io
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from selftaught_assets import input_files
from selftaught_assets.errors import UserError
from selftaught_assets.input_files import MEBIBYTE, content_of, files_below, lines_of
from selftaught_assets.judge import pair_files
from selftaught_assets.judge.judge import PAIR_FIELDS
from selftaught_assets.judge.pair_files import read_pairs
from selftaught_assets.judge.references import judge_in_folder
from selftaught_assets.model_files import config_content, end_of_sequence
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.recipe.fields import content_of as digest_of
from selftaught_assets.storage import inputs
from selftaught_assets.storage.inputs import read_jsonl, read_records
from selftaught_assets_tests.conftest import SMALL, write_small_recipe


@contextmanager
def at_most(bytes_held: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bytes_held
    finally:
        tracemalloc.stop()


def _packed(path: Path, piece: bytes, times: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(times):
            file.write(piece)
    return path


def test_a_packed_line_without_end_is_refused_before_memory_is_gone(tmp_path: Path) -> None:
    path = _packed(tmp_path / "bomb.jsonl.gz", bytes(MEBIBYTE), 300)
    with at_most(200 * MEBIBYTE), pytest.raises(UserError, match=r"bomb.jsonl.gz, line 1: it is longer than 64 MiB"):
        list(read_jsonl(path, ()))


def test_a_packed_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "LARGEST_UNPACKED", MEBIBYTE)
    path = _packed(tmp_path / "bomb.jsonl.gz", b"{}\n" * 1000, 1000)
    with pytest.raises(UserError, match=r"is larger than 1 MiB when it is unpacked: split it\.$"):
        list(lines_of(path))


def test_a_table_that_unpacks_to_more_than_memory_is_refused_by_its_own_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.select(instruction=pl.repeat("x" * 1000, 10_000)).write_parquet(tmp_path / "bomb.parquet")
    for limit in ("MOST_CELLS", "LARGEST_FILE"):
        with monkeypatch.context() as patched, pytest.raises(UserError, match=r"has 10,000 cells .*; split it\.$"):
            patched.setattr(inputs, limit, 9_999)
            list(read_records(tmp_path / "bomb.parquet", ()))


def test_a_text_that_stands_in_many_rows_counts_in_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series("instruction", ["x" * 1000] * 1000, dtype=pl.Categorical)
    texts.to_frame().write_parquet(tmp_path / "bomb.parquet")
    monkeypatch.setattr(inputs, "LARGEST_FILE", 100_000)
    with pytest.raises(UserError, match=r"has 1,000 cells of 1,000,000 bytes"):
        list(read_records(tmp_path / "bomb.parquet", ()))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("module", [inputs, pair_files])
def test_a_text_of_a_table_is_no_longer_than_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: ModuleType
) -> None:
    for reader in (inputs, pair_files):
        monkeypatch.setattr(reader, "LONGEST_LINE", 999)
    table, path = pl.DataFrame({name: ["x" * 1000] for name in PAIR_FIELDS}), tmp_path / f"pairs.{suffix}"
    table.write_parquet(path) if suffix == "parquet" else table.write_csv(path)
    with pytest.raises(UserError, match=r"has a row or a text of more than|field larger than field limit \(999\)"):
        list(read_records(path, ())) if module is inputs else read_pairs(path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pool": ("pool.jsonl", lambda path: list(read_jsonl(path, ()))),
    "packed": ("pool.jsonl.gz", lambda path: list(read_jsonl(path, ()))),
    "benchmark": ("benchmark.json", lambda path: list(read_records(path, ()))),
    "table": ("benchmark.parquet", lambda path: list(read_records(path, ()))),
    "pairs": ("pairs.jsonl", read_pairs),
    "CSV pairs": ("pairs.csv", read_pairs),
    "Parquet pairs": ("pairs.parquet", read_pairs),
    "configuration": ("config.json", lambda path: config_content(path.parent)),
    "end tokens": ("generation_config.json", lambda path: end_of_sequence(path.parent)),
    "exported judge": ("judge.json", lambda path: judge_in_folder(path.parent)),
}


@pytest.mark.parametrize("make", [_pipe, _device])
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_is_not_read(kind: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    name, read = READERS[kind]
    make(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} cannot be read: it is a (pipe|device), not a file\.$"):
        read(tmp_path / name)


@pytest.mark.parametrize("make", [_pipe, _device])
def test_a_recipe_a_prompt_or_a_suite_that_is_no_file_is_refused(
    make: Callable[[Path], None], tmp_path: Path, small_recipe: Callable[..., Recipe]
) -> None:
    from selftaught_assets.checks.suites import own_suites

    make(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="There is no recipe"):
        load_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "prompts").mkdir()
    make(tmp_path / "prompts" / "response.jinja")
    with pytest.raises(UserError, match=r"response\.jinja does not exist"):
        small_recipe(prompts="prompts")
    make(tmp_path / "suite.json")
    recipe = small_recipe(checks={"suites": {"pairs": "suite.json"}})
    with pytest.raises(UserError, match=r"cannot be read: it is a (pipe|device), not a file\.$"):
        own_suites(recipe)


def test_a_prompt_or_a_recipe_that_nobody_wrote_by_hand_is_refused(tmp_path: Path) -> None:
    path = write_small_recipe(tmp_path)
    with path.open("a") as file:
        file.truncate(2 * MEBIBYTE)
    with pytest.raises(UserError, match="is larger than 1 MiB"):
        load_recipe(str(path))


def test_a_file_that_does_not_fit_into_memory_is_not_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.csv"
    with path.open("wb") as file:
        file.truncate(1025 * MEBIBYTE)  # Has no blocks on the disk.
    with at_most(MEBIBYTE), pytest.raises(UserError, match=r"is larger than 1,024 MiB"):
        content_of(path)


def test_standard_input_without_line_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "LONGEST_LINE", 1000)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x" * 1001)))
    with pytest.raises(UserError, match=r"^Standard input, line 1: it is longer than"):
        read_pairs(Path("-"))


@pytest.mark.parametrize("pattern", ["**", "**/*", "**/*.jsonl"])
def test_a_pattern_that_means_the_whole_disk_is_refused_at_once(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MOST_ENTRIES", 2_000)
    with at_most(20 * MEBIBYTE), pytest.raises(UserError, match="has more than 2,000 files and folders"):
        list(read_records(Path("/"), (), pattern))
    with pytest.raises(UserError, match="has more than 2,000 files and folders"):
        digest_of(Path("/usr"))


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*", "'*' means more than 3 files in "),
        ("../*", "leads out of the folder"),
        ("/etc/*", "is no pattern for files in "),
        ("**x", "is no pattern for files in "),
    ],
)
def test_a_pattern_that_cannot_be_used_is_one_sentence(
    pattern: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_files, "MOST_FILES", 3)
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(UserError) as refused:
        files_below(tmp_path, pattern)
    assert said in str(refused.value)


def test_folders_that_lead_to_themselves_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "some.jsonl").write_text('{"x": 1}\n')
    assert [record.values for record in read_records(tmp_path, (), "**/*")] == [{"x": 1}]
    assert digest_of(tmp_path)


def test_reviews_that_are_no_file_are_one_sentence(tmp_path: Path) -> None:
    from selftaught_assets.review.answers import read_answers
    from selftaught_assets.storage.layout import Layout

    layout = Layout(tmp_path, SMALL["name"])
    layout.reviews("pairs").parent.mkdir(parents=True)
    os.mkfifo(layout.reviews("pairs"))
    with pytest.raises(UserError, match="it is a pipe, not a file"):
        read_answers(layout, "pairs")
