"""`diff` on tables made by hand; lineage/test_real_run.py has a real run's."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.errors import UserError
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import write_table
from selftaught_assets_tests.conftest import SMALL, write_small_recipe
from selftaught_assets_tests.lineage.made import (
    DROPPED_PAIR,
    FIRST,
    PAIR,
    PAIRS,
    SECOND,
    provenance,
    write_tables,
)
from selftaught_assets_tests.method.tables import right, verdicts, wrong


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "80")
    write_tables(tmp_path / "data")
    return write_small_recipe(tmp_path)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data", "small")


def compared(recipe: Path, a: str = FIRST, b: str = SECOND, *options: str) -> dict:
    done = CliRunner().invoke(app, ["diff", a, b, "--json", *options, "--recipe", str(recipe)])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def printed(recipe: Path, a: str = FIRST, b: str = SECOND) -> str:
    done = CliRunner().invoke(app, ["diff", a, b, "--recipe", str(recipe)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def evaluate(layout: Layout, iteration: str, wrong_ones: int) -> None:
    pairs = [(wrong if number < wrong_ones else right)(instruction=str(number)) for number in range(20)]
    write_table(layout.table("evaluation", iteration), greedy(pairs))


def greedy(pairs: list) -> pl.DataFrame:
    return verdicts(pairs, "tiny").with_columns(decoding=pl.lit("greedy"), judge=pl.lit("0" * 64))


def test_rows_are_counted_side_by_side_by_drop_reason(recipe: Path) -> None:
    count = {"rows": 2, "kept": 1, "dropped": {"responses_equal": 1}}
    assert compared(recipe)["tables"]["pairs"] == [count, count]


def test_rows_are_shared_by_id(recipe: Path, layout: Layout) -> None:
    write_table(layout.table("pairs", SECOND), PAIRS.with_columns(drop_reason=pl.Series(["truncated", None])))
    shared = compared(recipe)["shared"]
    assert (shared["pairs"]["first_only_a"], shared["pairs"]["first_only_b"]) == ([PAIR], [DROPPED_PAIR])
    assert shared["instructions"]["both"] == 2
    assert f"pairs only in A: {PAIR}" in printed(recipe)


def test_settings_differ_key_by_key_as_the_tables_were_made(recipe: Path, layout: Layout) -> None:
    for iteration, tokens in ((FIRST, 7), (SECOND, 9)):
        made = provenance("judgments", iteration, "v")
        sampling = made.settings["judgments"]["sampling"] | {"max_tokens": tokens}
        made = made.model_copy(update={"settings": made.settings | {"judgments": {"sampling": sampling}}})
        table = pl.read_parquet(layout.table("judgments", iteration))
        write_table(layout.table("judgments", iteration), table, made)
    found = compared(recipe)
    assert found["settings"] == {"judgments.sampling.max_tokens": [7, 9]}
    assert found["settings_from"] == ["tables", "tables"]
    assert "judgments.sampling.max_tokens: 7 → 9" in printed(recipe)


def test_two_recipes_are_compared_by_what_they_say_today_where_the_tables_do_not_know(
    recipe: Path, tmp_path: Path
) -> None:
    write_tables(tmp_path / "data")
    (tmp_path / "data" / "small").rename(tmp_path / "data" / "other")
    write_tables(tmp_path / "data")
    other = tmp_path / "other"
    other.mkdir()
    path = write_small_recipe(other, name="other", judgments=SMALL["judgments"] | {"n": 9})
    found = compared(recipe, f"{recipe}:{FIRST}", f"{path}:{FIRST}")
    assert found["settings"]["judgments.n"] == [SMALL["judgments"]["n"], 9]
    assert set(found["settings"]) == {"judgments.n", "pool.path", "benchmarks"}, "paths differ as well"
    assert (found["a"]["recipe"], found["b"]["recipe"]) == ("small", "other")
    assert found["shared"]["examples"]["both"] == 1


def test_accuracy_comes_with_the_paired_test(recipe: Path, layout: Layout) -> None:
    evaluate(layout, FIRST, 10)
    evaluate(layout, SECOND, 0)
    found = compared(recipe)
    assert found["accuracy"]["overall"]["difference"] == pytest.approx(0.5)
    assert found["not_compared"] is None
    shown = " ".join(printed(recipe).split())
    assert "Accuracy on tiny: 50.0 % → 100.0 % of 40 greedy verdicts." in shown
    assert f"{SECOND} is better than {FIRST}" in shown


def test_without_an_evaluation_the_rest_is_shown_and_it_is_said(recipe: Path, layout: Layout) -> None:
    evaluate(layout, FIRST, 10)
    assert f"{SECOND} of small is not evaluated on tiny." in printed(recipe)
    assert compared(recipe)["accuracy"] is None


def test_judges_measured_on_other_pairs_are_not_compared(recipe: Path, layout: Layout) -> None:
    evaluate(layout, FIRST, 0)
    write_table(layout.table("evaluation", SECOND), greedy([right(), right()]))
    assert "not measured on the same items" in compared(recipe)["not_compared"]


def test_models_are_named(recipe: Path) -> None:
    judges = compared(recipe)["models"]["judge"]
    assert [model["role"] for model in judges] == ["unknown", "unknown"]
    assert judges[0]["digest"] != judges[1]["digest"]
    assert "checkpoint: none → none" in printed(recipe)


def test_iteration_without_tables_is_refused(recipe: Path) -> None:
    done = CliRunner().invoke(app, ["diff", FIRST, "iteration_09", "--recipe", str(recipe)])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == (
        "Recipe small has no tables of 'iteration_09', only iteration_01, iteration_02: run it first."
    )


def test_everything_fits_a_terminal_of_80_columns_but_whole_sentences(recipe: Path, layout: Layout) -> None:
    evaluate(layout, FIRST, 1)
    evaluate(layout, SECOND, 0)
    tables = [line for line in printed(recipe).split("\n") if "." not in line]
    assert max(map(len, tables)) <= 80
