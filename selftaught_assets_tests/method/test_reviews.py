import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.identity import row_id
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.review.answers import agreement_table, agrees, rows_to_review, shown_position

IDS = pl.DataFrame({"pair_id": [row_id("pair", number) for number in range(400)]})
SCHEMA = {name: pl.String for name in ("kind", "iteration", "id", "reviewer", "answer")} | {"agrees": pl.Boolean}


def _table(*answers: tuple) -> list[dict]:
    return agreement_table(pl.DataFrame(answers, schema=SCHEMA, orient="row")).to_dicts()


@given(st.integers(0, 2**40), st.integers(1, 400), st.integers(1, 400))
def test_a_larger_sample_begins_with_a_smaller_one_whatever_the_order_of_rows(seed: int, few: int, many: int) -> None:
    few, many = sorted((few, many))
    smaller = rows_to_review(IDS, "pair_id", n=few, seed=seed)
    larger = rows_to_review(IDS.reverse(), "pair_id", n=many, seed=seed)
    assert smaller["pair_id"].to_list() == larger["pair_id"].to_list()[:few]
    assert larger["pair_id"].n_unique() == many


def test_another_seed_draws_other_rows() -> None:
    drawn = [set(rows_to_review(IDS, "pair_id", n=20, seed=seed)["pair_id"]) for seed in (1, 2)]
    assert len(drawn[0] & drawn[1]) < 10


def test_a_sample_of_more_rows_than_there_are_is_all_of_them() -> None:
    assert rows_to_review(IDS.head(3), "pair_id", n=50, seed=1).height == 3


def test_the_chosen_response_stands_first_about_as_often_as_second() -> None:
    shares = IDS.select((shown_position() == "A").mean()).item()
    assert 0.4 < shares < 0.6


@pytest.mark.parametrize(
    ("answer", "label", "expected"),
    [
        ("A", "A", True),
        ("A", "B", False),
        ("good", "bad", False),
        ("unsure", "A", None),
        (None, "good", None),
        ("good", None, None),
    ],
)
def test_an_answer_agrees_with_its_label_or_says_nothing_of_it(
    answer: str | None, label: str | None, expected: bool | None
) -> None:
    assert agrees(answer, label) is expected


def test_the_newest_answer_of_a_reviewer_counts_and_one_taken_back_does_not() -> None:
    (row,) = _table(
        ("pairs", "iteration_01", "1", "anna", "A", True),
        ("pairs", "iteration_01", "1", "anna", "B", False),
        ("pairs", "iteration_01", "1", "ben", "A", True),
        ("pairs", "iteration_01", "2", "anna", "A", True),
        ("pairs", "iteration_01", "3", "anna", "unsure", None),
        ("pairs", "iteration_01", "4", "anna", "A", True),
        ("pairs", "iteration_01", "4", "anna", None, None),
    )
    low, high = wilson_interval(2, 3)
    counted = {"n": 3, "agreed": 2, "share": 2 / 3, "low": low, "high": high, "unsure": 1}
    assert row == {"kind": "pairs", "iteration": "iteration_01", **counted}


def test_kinds_and_iterations_are_counted_apart_in_their_order() -> None:
    rows = _table(
        ("pairs", "iteration_02", "1", "anna", "A", True),
        ("pairs", "iteration_01", "1", "anna", "A", False),
        ("judgments", "iteration_02", "1", "anna", "good", True),
    )
    assert [(row["kind"], row["iteration"], row["agreed"]) for row in rows] == [
        ("judgments", "iteration_02", 1),
        ("pairs", "iteration_01", 0),
        ("pairs", "iteration_02", 1),
    ]


def test_where_nobody_is_sure_there_is_no_share() -> None:
    (row,) = _table(("pairs", "iteration_01", "1", "anna", "unsure", None))
    assert (row["n"], row["share"], row["low"], row["high"], row["unsure"]) == (0, None, 0.0, 1.0, 1)


def test_without_answers_there_is_no_row() -> None:
    assert _table() == []
