from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.scoring.accuracy import compare, score, single_sample_accuracy
from selftaught_assets.method.single import (
    RATED_VERDICT_COLUMNS,
    benchmark_rating_requests,
    rating_verdicts,
    tied_share,
)

ratings = st.one_of(st.none(), st.integers(1, 10))
samples = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.lists(ratings, min_size=n, max_size=n)] * 2, st.sampled_from("AB")), min_size=1, max_size=6
    )
)
"""Of each pair the ratings of response A, those of response B, and the label."""


def items(labels: list[str]) -> pl.DataFrame:
    records = (
        {"id": number, "instruction": f"x{number}", "response_a": "left", "response_b": "right", "label": label}
        for number, label in enumerate(labels)
    )
    return benchmark_rows("b", records)


def measured(pairs: list[tuple[list[int | None], list[int | None], str]]) -> pl.DataFrame:
    """The verdicts on these ratings; completions are handed over in the reverse order."""
    requests = benchmark_rating_requests(items([label for *_, label in pairs]))
    sides = [side for one, other, _ in pairs for side in (one, other)]
    completions = [
        {"request_id": request, "sample_index": index, "text": f"so [[{rating}]]", "finish_reason": "stop"}
        for request, side in zip(requests["request_id"], sides, strict=True)
        for index, rating in enumerate(side)
    ]
    return rating_verdicts(requests, pl.DataFrame(completions[::-1]), decoding="vote", judge="digest")


def mean(side: list[int | None]) -> Fraction | None:
    valid = [rating for rating in side if rating is not None]
    return Fraction(sum(valid), len(valid)) if valid else None


def better(one: Fraction | int | None, other: Fraction | int | None) -> str | None:
    if one is None or other is None:
        return None
    return "TIE" if one == other else "A" if one > other else "B"


def test_each_response_is_asked_about_once_by_itself():
    requests = benchmark_rating_requests(items(["A", "B"]))
    assert requests.select("item_id", "side", "response").rows() == [
        ("0", "A", "left"),
        ("0", "B", "right"),
        ("1", "A", "left"),
        ("1", "B", "right"),
    ]
    assert requests["request_id"].is_unique().all()


@given(pairs=samples)
def test_the_higher_mean_is_the_verdict_and_each_sample_is_a_vote(pairs):
    table = measured(pairs)
    assert tuple(table.columns) == RATED_VERDICT_COLUMNS
    assert table["item_id"].to_list() == [str(number) for number in range(len(pairs))]
    for row, (one, other, label) in zip(table.iter_rows(named=True), pairs, strict=True):
        assert row["verdict"] == better(mean(one), mean(other))
        assert row["score"] == float(row["verdict"] == label)
        votes = [better(a, b) for a, b in zip(one, other, strict=True)]
        counts = (row["votes_a"], row["votes_b"], row["votes_tie"], row["votes_invalid"])
        assert counts == (votes.count("A"), votes.count("B"), votes.count("TIE"), votes.count(None))


@given(pairs=samples)
def test_exchanging_the_two_responses_exchanges_the_verdict_and_changes_no_score(pairs):
    exchanged = [(other, one, {"A": "B", "B": "A"}[label]) for one, other, label in pairs]
    assert measured(exchanged)["score"].to_list() == measured(pairs)["score"].to_list()


@given(pairs=samples)
def test_a_pair_counts_once_in_the_scores(pairs):
    table = measured(pairs)
    scores = score(table)
    assert scores.n == len(pairs)
    assert scores.position_consistent == pytest.approx(scores.accuracy)
    assert scores.winner_first is scores.loser_first is None
    assert scores.accuracy + tied_share(table) + scores.invalid <= 1 + 1e-9


def test_equal_ratings_are_a_tie_which_is_neither_right_nor_invalid():
    table = measured([([5], [5], "A"), ([5], [None], "A"), ([6], [5], "A"), ([5], [6], "A")])
    assert table["verdict"].to_list() == ["TIE", None, "A", "B"]
    scores = score(table)
    assert (scores.accuracy, scores.invalid, tied_share(table)) == (0.25, 0.25, 0.25)


def test_the_mean_decides_where_the_samples_disagree():
    table = measured([([10, 4, 4], [5, 5, 5], "A")])
    assert table.select("verdict", "votes_a", "votes_b").row(0) == ("A", 1, 2)
    assert single_sample_accuracy(table) == pytest.approx(1 / 3)


def test_two_judges_are_compared_on_pairs_and_not_twice_on_each():
    before = measured([([5], [5], "A")] * 6)
    after = measured([([6], [5], "A")] * 6)
    comparison = compare(before, after)
    assert (comparison.n, comparison.gained, comparison.lost) == (6, 6, 0)
    assert comparison.p_value == pytest.approx(2 / 2**6)


def test_a_pair_that_is_scored_twice_without_an_order_is_refused():
    table = measured([([5], [6], "A")])
    with pytest.raises(ValueError, match="not judged once"):
        score(pl.concat([table, table]))


def test_one_order_of_a_comparison_is_not_taken_for_a_rating():
    table = measured([([5], [6], "A")]).with_columns(order=pl.lit("AB"))
    with pytest.raises(ValueError, match="not judged once"):
        score(table)
