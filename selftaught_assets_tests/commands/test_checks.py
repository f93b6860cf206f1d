"""`selftaught checks` as a user runs it."""

import subprocess
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets_tests.command_line import SELFTAUGHT, selftaught
from selftaught_assets_tests.conftest import write_small_recipe


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    return str(write_small_recipe(tmp_path))


@pytest.mark.slow
def test_export_says_what_is_where_and_how_much_is_not(recipe: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    pool = pl.DataFrame({"line": [1], "instruction_id": ["a"], "instruction": ["Hi"], "drop_reason": [None]})
    pool.cast({"drop_reason": pl.String}).write_parquet(folder / "instruction_pool.parquet")
    command = [*SELFTAUGHT, "checks", "export", str(tmp_path / "project"), "--recipe", recipe]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "expectations about 1 files are in" in done.stdout
    assert "rules need more than the tables as they are stored." in done.stdout
    assert (tmp_path / "project" / "gx" / "expectations" / "instruction_pool.json").is_file()


def test_data_docs_before_the_first_run_are_refused_in_one_sentence(recipe: str, tmp_path: Path) -> None:
    done = selftaught("checks", "docs", "--recipe", recipe, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No checks of recipe small are on record yet: run it first (selftaught run).")
