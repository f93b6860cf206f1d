"""What `trace` prints. What it finds is tested in lineage."""

import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.commands.console import console
from selftaught_assets.errors import UserError, visible
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import write_table
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.lineage.made import (
    DROPPED_PAIR,
    FIRST,
    HOSTILE,
    PAIR,
    SEED,
    UNSELECTED,
    judgments,
    write_tables,
)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "80")
    write_tables(tmp_path / "data")
    return write_small_recipe(tmp_path)


def said(recipe: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["trace", *arguments, "--recipe", str(recipe)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_tree_fits_the_terminal_and_marks_what_was_asked(recipe: Path) -> None:
    lines = said(recipe, PAIR).split("\n")
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if "▶" in line] == [line for line in lines if f"▶ pair {PAIR}" in line]
    assert sum("KEPT" in line for line in lines) == 2


@pytest.mark.parametrize("options", [(), ("--full",)], ids=["short", "full"])
def test_text_of_a_model_is_shown_as_text(recipe: Path, options: tuple[str, ...]) -> None:
    shown = said(recipe, PAIR, *options)
    assert "[bold]A[/bold]\\x1b[2J\\u202egnirts\\u2066" in shown
    assert not {"\x1b", "\u202e", "\u2066"} & set(shown)


def test_full_text_keeps_its_lines(recipe: Path) -> None:
    assert "gnirts\\u2066↵second line" in said(recipe, PAIR)
    whole = said(recipe, PAIR, "--full").split("\n")
    assert any(line.endswith(" second line") and "gnirts" not in line for line in whole)


def test_full_text_is_not_cut(recipe: Path) -> None:
    assert "…" not in said(recipe, PAIR, "--full")


def test_drop_reasons_are_read_without_options(recipe: Path) -> None:
    assert f"pair {DROPPED_PAIR}, dropped: responses_equal" in said(recipe, DROPPED_PAIR)
    assert "not_selected in iteration_01, iteration_02" in said(recipe, UNSELECTED)


def test_verdict_says_that_it_was_elicited(recipe: Path, tmp_path: Path) -> None:
    marked = judgments("cc1c", SEED).with_columns(elicited=pl.Series([False, True]))
    write_table(Layout(tmp_path / "data", "small").table("judgments", FIRST), marked)
    shown = said(recipe, PAIR)
    assert "A (elicited), right" in shown
    assert "B, wrong" in shown


def test_rating_says_which_response_it_is_of(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 120)  # Rich reads COLUMNS once, when the console is made.
    layout = Layout(tmp_path / "data", "small")
    rated = judgments("cc1c", SEED).with_columns(
        chosen_position=pl.lit(None, dtype=pl.String),
        rated=pl.Series(["chosen", "rejected"]),
        verdict=pl.Series(["8", None]),
        is_correct=pl.Series([True, False]),
    )
    write_table(layout.table("judgments", FIRST), rated)
    shown = said(recipe, PAIR, "--iteration", FIRST)
    assert "8, right, dropped: wrong_verdict (sample 0, rates the chosen)" in shown
    assert "invalid, KEPT (sample 1, rates the rejected)" in shown


def test_unknown_id_ends_with_its_sentence(recipe: Path) -> None:
    done = CliRunner().invoke(app, ["trace", "[/]ffff", "--recipe", str(recipe)])
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("No row or model has the id '[/]ffff'")


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_left_in_a_shown_text(text: str) -> None:
    for shown in (visible(text), visible(text, lines=True)):
        acting = {character for character in shown if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert acting <= {"\n", "\t", "\u200c", "\u200d"}
    assert "\n" not in visible(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "M", "Zs"])))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_hostile_text_is_hostile() -> None:
    assert visible(HOSTILE) != HOSTILE
