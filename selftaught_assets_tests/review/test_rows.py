from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.review.rows import Row, read_rows
from selftaught_assets_tests.review.tables import ITERATION, layout_with_pairs


def _texts(row: Row) -> dict[str, str]:
    return {text.title: text.text for text in row.texts}


def test_pairs_are_blind_and_their_label_is_where_the_chosen_response_stands(tmp_path: Path) -> None:
    rows = read_rows(layout_with_pairs(tmp_path, pairs=40), "pairs", ITERATION, n=50, seed=1)
    assert len(rows) == 39  # The last one is dropped.
    assert {row.label for row in rows} == {"A", "B"}
    for row in rows:
        texts = _texts(row)
        number = texts["Instruction"].removeprefix("instruction ")
        assert set(texts) == {"Instruction", "Response A", "Response B"}
        assert texts[f"Response {row.label}"] == f"chosen {number}"
        assert {texts["Response A"], texts["Response B"]} == {f"chosen {number}", f"rejected {number}"}


def test_a_pair_looks_the_same_in_every_review(tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path, pairs=40)
    first, second = ({row.id: row for row in read_rows(layout, "pairs", ITERATION, n=39, seed=seed)} for seed in (1, 2))
    assert first == second
    assert list(first) != list(second)


def test_judgments_stand_beside_the_pair_as_the_judge_saw_it(tmp_path: Path) -> None:
    rows = read_rows(layout_with_pairs(tmp_path), "judgments", ITERATION, n=50, seed=1)
    shown = {_texts(row)["Judgment"]: (_texts(row), row.label) for row in rows}
    texts, label = shown["judgment 3"]
    expected = {
        "Instruction": "instruction 3",
        "Response A": "chosen 3",
        "Response B": "rejected 3",
        "Judgment": "judgment 3",
    }
    assert texts == expected
    assert label == "bad"
    assert shown["judgment 2"][1] == "good"


def test_judgments_of_the_single_form_stand_beside_the_response_that_was_rated(tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    path = layout.table("judgments", ITERATION)
    rated = pl.read_parquet(path).with_columns(
        pl.lit(None, dtype=pl.String).alias("chosen_position"), pl.lit("rejected").alias("rated")
    )
    rated.write_parquet(path)
    rows = read_rows(layout, "judgments", ITERATION, n=1, seed=1)
    assert list(_texts(rows[0])) == ["Instruction", "Response", "Judgment"]
    assert _texts(rows[0])["Response"].startswith("rejected ")


def test_instructions_that_were_kept_are_labelled_good(tmp_path: Path) -> None:
    rows = read_rows(layout_with_pairs(tmp_path), "instructions", ITERATION, n=50, seed=1)
    assert [row.label for row in rows] == ["good"] * 5


def test_a_table_that_is_not_there_yet_is_named_with_what_to_materialize(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist: materialize `pairs` of iteration_02 first"):
        read_rows(layout_with_pairs(tmp_path), "pairs", "iteration_02", n=1, seed=1)


def test_a_table_without_kept_rows_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no kept row"):
        read_rows(layout_with_pairs(tmp_path, drop_reason="truncated"), "pairs", ITERATION, n=1, seed=1)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    layout.table("pairs", ITERATION).write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"pairs/iteration_01\.parquet is damaged"):
        read_rows(layout, "pairs", ITERATION, n=1, seed=1)


def test_judgments_whose_pairs_are_gone_are_a_sentence(tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    path = layout.table("pairs", ITERATION)
    pl.read_parquet(path).clear().write_parquet(path)
    with pytest.raises(UserError, match="materialize `judgments` of iteration_01 again"):
        read_rows(layout, "judgments", ITERATION, n=1, seed=1)
