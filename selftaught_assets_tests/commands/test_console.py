"""Consoles that cannot show every character, and homes of Dagster that cannot be used."""

import io
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from rich.markup import escape

from selftaught_assets.cli import main
from selftaught_assets.commands.console import SafeConsole, new_table, opened_instance, use_dagster_home
from selftaught_assets.errors import UserError
from selftaught_assets.storage.layout import default_data_root
from selftaught_assets_tests.commands.test_results import recipe as recipe
from selftaught_assets_tests.lineage.made import PAIR, write_tables


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [("results",), ("compare", "seed", "iteration_02"), ("trace", PAIR), ("trace", PAIR, "--full"), ("--help",)],
)
def test_every_console_shows_every_table(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], encoding: str
) -> None:
    if arguments[0] == "trace":
        write_tables(Path(os.environ["SELFTAUGHT_DATA"]))
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding, write_through=True))
    own = [] if arguments == ("--help",) else ["--recipe", str(recipe)]
    monkeypatch.setattr(sys, "argv", ["selftaught", *arguments, *own])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    text = shown.getvalue().decode(encoding)
    assert len(text) > 200
    if arguments == ("results",):
        assert ("–" if encoding in ("cp1252", "utf-8") else "-") in next(
            line for line in text.split("\n") if line.startswith("iteration_01")
        )


def test_half_a_surrogate_pair_ends_no_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown, "utf-8", write_through=True))
    monkeypatch.setattr(sys, "argv", ["selftaught", "trace", PAIR, "--recipe", "no\udcff.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "There is no recipe" in shown.getvalue().decode()


@pytest.mark.parametrize(("named", "meant"), [("dh", "here/dh"), ("~/dh", "home/dh"), ("", "here/dagster_home")])
def test_home_of_dagster_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str, meant: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", named)
    with opened_instance() as instance:
        assert Path(instance.root_directory) == tmp_path / meant
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / meant)
    assert not (tmp_path / "here" / "~").exists()


@pytest.mark.parametrize("named", ["/proc/x", "file", "file/below", "~nobody-of-this-name/x", "folder", "bytes"])
def test_home_that_cannot_be_one_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "dagster.yaml").mkdir(parents=True)
    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes" / "dagster.yaml").write_bytes(b"\xff")
    monkeypatch.setenv("DAGSTER_HOME", named)
    with pytest.raises(UserError, match=rf"^DAGSTER_HOME is {named!r}, where no .* \(.*\): set it to .*\.$"):
        use_dagster_home()
    assert not (tmp_path / "~nobody-of-this-name").exists()


@pytest.mark.parametrize("settings", ["- a\n", "a: [\n", "no_such_setting: 1\n"])
def test_damaged_settings_of_dagster_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str
) -> None:
    (tmp_path / "dagster.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    sentence = r"The Dagster instance at .* cannot be opened \(.*\): fix its dagster.yaml"
    with pytest.raises(UserError, match=sentence), opened_instance():
        pass


def test_damaged_storage_of_dagster_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "runs.db").write_text("no database " * 100)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(UserError, match="file is not a database"), opened_instance():
        pass


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_home_on_a_full_disk_is_one_sentence_and_gets_no_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with full_disk(), pytest.raises(UserError, match=r"^Could not write into .*; free some space and run it again\.$"):
        use_dagster_home()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_under_the_home_ends_a_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    sentence = rf"^The storage of the Dagster instance at {tmp_path} failed \(.*\): see that it has room, .*\.$"
    with pytest.raises(UserError, match=sentence), opened_instance() as instance, full_disk():
        instance.report_runless_asset_event(dg.AssetMaterialization("pairs"))
    with opened_instance() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("pairs"))
        assert instance.get_latest_materialization_event(dg.AssetKey("pairs")) is not None


def test_a_home_that_is_removed_ends_a_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="storage of the Dagster instance at"), opened_instance() as instance:
        shutil.rmtree(tmp_path / "home")
        instance.get_runs()


def test_an_error_that_is_none_of_the_storage_stays_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for error in (ZeroDivisionError("a bug"), UserError("a sentence")):
        with pytest.raises(type(error), match=str(error)), opened_instance():
            raise error


def test_data_folder_may_be_in_ones_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SELFTAUGHT_DATA", "~/data")
    assert default_data_root() == tmp_path / "data"
    monkeypatch.setenv("SELFTAUGHT_DATA", "~nobody-of-this-name/data")
    with pytest.raises(UserError, match="SELFTAUGHT_DATA is '~nobody"):
        default_data_root()


def test_nothing_that_a_stranger_wrote_acts_on_the_terminal() -> None:
    text = "a\x1b[2J\x1b]0;title\x07b\x9b31m\u202ec\r\u2028"
    shown = "a\\x1b[2J\\x1b]0;title\\x07b\\x9b31m\\u202ec\\x0d\\u2028"
    assert str(UserError(f"{text}\n.")) == f"{shown}↵."
    printed = SafeConsole(file=io.StringIO(), width=200)
    printed.print(f"[bold]{escape(text)}[/]\n", highlight=False, soft_wrap=True)
    table = new_table("name")
    table.add_row(escape(text))
    printed.print(table)
    assert printed.file.getvalue().count(shown.partition("title")[0]) == 2
    assert not set(printed.file.getvalue()) & set("\x1b\x07\x9b\u202e\r\u2028")
