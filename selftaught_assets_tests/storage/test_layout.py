from pathlib import Path

import pytest
from upath import UPath

from selftaught_assets.storage.layout import Layout, default_data_root


def test_everything_of_a_recipe_lies_in_its_own_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "demo")
    places = [
        layout.table("benchmarks"),
        layout.table("pairs", "iteration_01"),
        layout.journal("pairs"),
        layout.judge("iteration_01"),
        layout.checkpoints("iteration_01"),
        layout.promotions("iteration_01"),
        layout.report,
        layout.reviews("pairs"),
        layout.progress,
        layout.log,
    ]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(tmp_path / "demo") for place in places)


def test_partitions_of_a_table_are_files_of_one_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "demo")
    assert layout.table("pairs", "iteration_02") == tmp_path / "demo" / "pairs" / "iteration_02.parquet"
    assert layout.table("benchmarks") == tmp_path / "demo" / "benchmarks.parquet"


def test_data_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "elsewhere"))
    assert default_data_root() == tmp_path / "elsewhere"


@pytest.mark.parametrize("value", [None, ""])
def test_data_lies_in_the_current_folder_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if value is None:
        monkeypatch.delenv("SELFTAUGHT_DATA", raising=False)
    else:
        monkeypatch.setenv("SELFTAUGHT_DATA", value)
    assert default_data_root() == tmp_path / "data"


@pytest.mark.parametrize(("journal", "place"), [("s3://b/p", UPath("s3://b/p/pairs")), (Path("/j"), Path("/j/pairs"))])
def test_the_journal_lies_where_the_recipe_says(journal: str | Path, place: Path | UPath, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "demo", journal)
    assert layout.journal("pairs") == place
    assert layout.table("pairs") == Layout(tmp_path, "demo").table("pairs")
