"""Addresses where only a path can be meant: each is refused in one sentence, and nothing is made."""

from pathlib import Path

import pytest

from selftaught_assets.commands.console import use_dagster_home
from selftaught_assets.component import SelfTaughtEvaluator
from selftaught_assets.errors import UserError
from selftaught_assets.paths import is_address
from selftaught_assets.recipe import load_recipe
from selftaught_assets.storage.files import folder_written_aside
from selftaught_assets.storage.layout import Layout, default_data_root
from selftaught_assets_tests.command_line import selftaught
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

ADDRESS = "s3://bucket/data"


@pytest.fixture(autouse=True)
def _nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize("named", [ADDRESS, "gs://b", "hf://datasets/a/b", "file:///tmp/x", "az+x://c", Path(ADDRESS)])
def test_a_scheme_makes_an_address(named: str | Path) -> None:
    assert is_address(named)


@pytest.mark.parametrize("named", ["data", "/data", "~/data", "./s3:/data", "C:/data", "a:b", "x/s3://y", "", "-"])
def test_what_has_no_scheme_is_a_path(named: str) -> None:
    assert not is_address(named)


def test_the_data_folder_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_DATA", ADDRESS)
    with pytest.raises(UserError, match=f"^SELFTAUGHT_DATA is '{ADDRESS}', an address: name a folder"):
        default_data_root()


def test_the_data_folder_of_a_component(tmp_path: Path) -> None:
    recipe = load_recipe(str(write_small_recipe(tmp_path)))
    for opened in (SelfTaughtEvaluator, Layout.of):
        with pytest.raises(UserError, match="The data folder is 's3://bucket/data', an address"):
            opened(recipe, **({"data": Path(ADDRESS)} if opened is SelfTaughtEvaluator else {"root": Path(ADDRESS)}))


def test_the_home_of_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", ADDRESS)
    with pytest.raises(UserError, match=f"^DAGSTER_HOME is '{ADDRESS}', an address"):
        use_dagster_home()


def test_a_folder_that_python_writes() -> None:
    with pytest.raises(UserError, match="is 's3://bucket/data', an address"), folder_written_aside(Path(ADDRESS)):
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "newest", ADDRESS],
        ["checks", "export", ADDRESS],
        ["init", ADDRESS],
        ["seed", "--output", ADDRESS],
        ["report", "--output", ADDRESS],
        ["judge", "pairs.jsonl", "-o", ADDRESS],
        ["judge", ADDRESS, "-o", "verdicts.jsonl"],
    ],
    ids=" ".join,
)
def test_what_a_command_reads_or_writes(arguments: list[str], tmp_path: Path) -> None:
    done = selftaught(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"Error: The path is '{ADDRESS}', an address: name a folder or a file on this machine.\n"


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("pool.path", {"pool": {"path": ADDRESS}}),
        ("seed_model", {"seed_model": ADDRESS}),
        ("prompts", {"prompts": ADDRESS}),
        ("benchmarks.0.path", {"benchmarks": [{"name": "tiny", "path": ADDRESS}]}),
        ("judgments.first_annotator", {"judgments": SMALL["judgments"] | {"first_annotator": ADDRESS}}),
        ("checks.suites.pairs.path", {"checks": {"suites": {"pairs": {"path": ADDRESS}}}}),
    ],
)
def test_a_path_in_a_recipe(field: str, changed: dict[str, object], tmp_path: Path) -> None:
    said = (
        rf"`{field}` is '{ADDRESS}': this is an address, and only files and folders of this machine can be read here\.$"
    )
    with pytest.raises(UserError, match=said):
        load_recipe(str(write_small_recipe(tmp_path, **changed)))
