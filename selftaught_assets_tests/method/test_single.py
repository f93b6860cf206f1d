import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.judging import JUDGMENT_COLUMNS, judging_requests
from selftaught_assets.method.single import (
    RATED,
    RATED_JUDGMENT_COLUMNS,
    rating_quality,
    rating_requests,
    ratings_table,
)
from selftaught_assets_tests.method.tables import seeds
from selftaught_assets_tests.method.test_judging import KEPT, PAIRS, completions

ratings = st.one_of(st.none(), st.integers(1, 10))
pairs_of_ratings = st.lists(
    st.tuples(st.lists(ratings, min_size=1, max_size=4), st.lists(ratings, min_size=1, max_size=4)),
    min_size=1,
    max_size=5,
)
"""Of each pair the ratings of its winner and those of its loser."""


def rated(values: list[tuple[list[int | None], list[int | None]]], judge: str = "digest") -> pl.DataFrame:
    """The table of judgments of the first kept pairs, each with its ratings."""
    requests = rating_requests(KEPT.head(len(values)))
    answers = [
        {
            "request_id": request,
            "sample_index": index,
            "text": "so so" if rating is None else f"so [[{rating}]]",
            "finish_reason": "stop",
            "completion_tokens": 3,
        }
        for request, side in zip(requests["request_id"], [side for pair in values for side in pair], strict=True)
        for index, rating in enumerate(side)
    ]
    return ratings_table(requests, pl.DataFrame(answers), judge=judge)


def test_both_responses_of_each_kept_pair_are_rated_by_themselves():
    requests = rating_requests(PAIRS)
    assert requests["pair_id"].to_list() == [pair for pair in KEPT["pair_id"] for _ in RATED]
    assert requests["rated"].to_list() == list(RATED) * KEPT.height
    texts = [text for pair in KEPT.select("chosen", "rejected").rows() for text in pair]
    assert requests["response"].to_list() == texts


@given(seed=seeds)
def test_requests_of_the_two_forms_have_different_ids(seed):
    pairwise = judging_requests(PAIRS, positions="both", seed=seed)["request_id"]
    assert not set(pairwise) & set(rating_requests(PAIRS)["request_id"])
    assert rating_requests(PAIRS)["request_id"].is_unique().all()


def test_the_table_has_the_columns_of_the_pairwise_form_and_two_more():
    table = rated([([7], [None])])
    assert tuple(table.columns) == RATED_JUDGMENT_COLUMNS == (*JUDGMENT_COLUMNS, "rated", "rating")
    assert table.select("rated", "rating", "verdict", "chosen_position").rows() == [
        ("chosen", 7, "7", None),
        ("rejected", None, None, None),
    ]


@given(values=pairs_of_ratings)
def test_a_judgment_is_correct_where_some_judgment_of_the_other_response_stands_on_its_right_side(values):
    expected = []
    for winners, losers in values:
        expected += [r is not None and any(o is not None and r > o for o in losers) for r in winners]
        expected += [r is not None and any(o is not None and r < o for o in winners) for r in losers]
    assert rated(values)["is_correct"].to_list() == expected


@given(values=pairs_of_ratings)
def test_the_numbers_of_a_judge_are_those_counted_by_hand(values):
    quality = rating_quality(rated(values))
    combined = [(a, b) for pair in values for a in pair[0] for b in pair[1] if a is not None and b is not None]
    ordered = sum(a > b for a, b in combined) / len(combined) if combined else 0.0
    tied = sum(a == b for a, b in combined) / len(combined) if combined else 0.0
    assert quality["ordered_share"] == pytest.approx(ordered)
    assert quality["tied_share"] == pytest.approx(tied)
    solved = [any(a is not None and b is not None and a > b for a in one for b in other) for one, other in values]
    assert quality["solved_share"] == pytest.approx(sum(solved) / len(solved))


def test_judgment_ids_tell_judge_response_sample_and_text_apart():
    tables = [rated([([first, 5], [5, 5])], judge) for judge in "xy" for first in (3, 4)]
    assert pl.concat(tables)["judgment_id"].n_unique() == 2 * (4 + 1), "three samples are the same in both tables"


def test_a_response_that_did_not_fit_the_context_is_dropped_and_stays_in_the_table():
    requests = rating_requests(PAIRS).head(1)
    table = ratings_table(requests, completions(requests, "", finish="prompt_too_long"), judge="digest")
    assert table["drop_reason"].to_list() == ["prompt_too_long"]


def test_an_answer_to_nothing_is_refused():
    requests = rating_requests(PAIRS)
    with pytest.raises(ValueError, match="1 completions answer no request"):
        ratings_table(requests.tail(-1), completions(requests, "[[4]]"), judge="digest")
