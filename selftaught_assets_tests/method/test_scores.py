import math
import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from selftaught_assets.method.scores import (
    compare,
    mcnemar_exact,
    score,
    single_sample_accuracy,
    wilson_interval,
    with_score,
)

SCHEMA = dict.fromkeys(("benchmark", "item_id", "order", "label", "verdict"), pl.String)
verdicts = st.sampled_from(["A", "B", None])
both_orders = st.lists(st.tuples(st.sampled_from("AB"), verdicts, verdicts), min_size=1, max_size=30)


def table(items: list[tuple[str, str | None, str | None]], benchmark: str = "b") -> pl.DataFrame:
    """Verdicts from (label as given, verdict in order AB, verdict in order BA)."""
    rows = []
    for number, (label, as_given, swapped) in enumerate(items):
        rows.append((benchmark, str(number), "AB", label, as_given))
        rows.append((benchmark, str(number), "BA", {"A": "B", "B": "A"}[label], swapped))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_scores_of_a_small_table_worked_by_hand():
    # right twice; right only with the winner first; invalid then right with the winner first; wrong twice
    scores = score(table([("A", "A", "B"), ("A", "A", "A"), ("B", None, "A"), ("B", "A", "B")]))
    assert (scores.n, scores.right, scores.accuracy) == (8, 4, 0.5)
    assert scores.position_consistent == 0.25
    assert scores.winner_first == 0.75
    assert scores.loser_first == 0.25
    assert scores.invalid == 0.125
    assert scores.interval == wilson_interval(4, 8)


def test_a_judge_that_always_names_the_first_response_scores_one_half():
    scores = score(table([("A", "A", "A"), ("B", "A", "A")]))
    assert (scores.accuracy, scores.winner_first, scores.loser_first, scores.position_consistent) == (
        0.5,
        1.0,
        0.0,
        0.0,
    )


def test_an_invalid_verdict_is_not_half_right():
    assert score(table([("A", None, None)])).accuracy == 0.0
    assert with_score(table([("A", None, "B")]))["score"].to_list() == [0.0, 1.0]


@given(items=both_orders)
def test_accuracy_is_the_mean_over_both_positions_of_the_winner(items):
    scores = score(table(items))
    assert scores.accuracy == pytest.approx((scores.winner_first + scores.loser_first) / 2)
    assert scores.position_consistent <= min(scores.winner_first, scores.loser_first) + 1e-12
    assert scores.accuracy + scores.invalid <= 1 + 1e-12


@given(items=both_orders)
def test_naming_the_two_responses_the_other_way_round_changes_no_score(items):
    other = {"A": "B", "B": "A", None: None}
    assert score(table([(other[label], swapped, as_given) for label, as_given, swapped in items])) == score(
        table(items)
    )


@given(items=both_orders, shuffle=st.randoms())
def test_the_order_of_rows_changes_no_score(items, shuffle):
    frame = table(items)
    rows = list(range(frame.height))
    shuffle.shuffle(rows)
    assert score(frame[rows]) == score(frame)


def test_items_of_two_benchmarks_may_share_an_id():
    assert score(pl.concat([table([("A", "A", "B")], "x"), table([("A", "A", "B")], "y")])).n == 4


def test_a_pair_that_was_judged_in_one_order_only_is_refused():
    with pytest.raises(ValueError, match="1 pairs are not judged once in each order, the first one is '1'"):
        score(table([("A", "A", "B"), ("A", "A", "B")]).head(3))


def test_nothing_cannot_be_scored():
    with pytest.raises(ValueError, match="no verdict to score"):
        score(table([]))


def test_single_sample_accuracy_counts_every_vote_and_invalid_ones_as_not_right():
    votes = pl.DataFrame({"votes_a": [6, 1], "votes_b": [1, 2], "votes_invalid": [1, 5], "label": ["A", "B"]})
    assert single_sample_accuracy(votes) == 8 / 16


def test_single_sample_accuracy_of_no_votes_is_refused():
    votes = pl.DataFrame({"votes_a": [0], "votes_b": [0], "votes_invalid": [0], "label": ["A"]})
    with pytest.raises(ValueError, match="no vote"):
        single_sample_accuracy(votes)


def test_a_comparison_counts_what_was_gained_and_lost():
    before = table([("A", "A", "A"), ("A", "B", None), ("A", "A", "B")])
    after = table([("A", "A", "B"), ("A", "A", "B"), ("A", None, "B")])
    result = compare(before, after.reverse())
    assert (result.n, result.gained, result.lost) == (6, 3, 1)
    assert result.p_value == mcnemar_exact(3, 1)


@given(before=both_orders, changes=st.randoms())
def test_a_comparison_the_other_way_round_exchanges_gained_and_lost(before, changes):
    after = [(label, changes.choice("AB"), changes.choice("AB")) for label, _, _ in before]
    forth, back = compare(table(before), table(after)), compare(table(after), table(before))
    assert (forth.gained, forth.lost, forth.p_value) == (back.lost, back.gained, back.p_value)
    assert forth.gained - forth.lost == score(table(after)).right - score(table(before)).right


@pytest.mark.parametrize(
    "other",
    [
        table([("A", "A", "B")]),
        table([("A", "A", "B"), ("A", "A", "B")], "other"),
        table([("A", "A", "B"), ("A", "A", "B")]).with_columns(order=pl.lit("AB")),
    ],
)
def test_judges_measured_on_different_items_are_not_compared(other):
    with pytest.raises(ValueError, match="not measured on the same items"):
        compare(table([("A", "A", "B"), ("A", "A", "B")]), other)


@given(n=st.integers(0, 10**6), share=st.floats(0, 1), confidence=st.floats(0.01, 0.999))
def test_a_wilson_interval_lies_in_0_1_and_contains_the_share(n, share, confidence):
    successes = min(n, round(share * n))
    low, high = wilson_interval(successes, n, confidence)
    assert 0 <= low <= high <= 1
    assert n == 0 or low <= successes / n <= high


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 3), (404, 600), (50_000, 100_000)])
def test_wilson_agrees_with_scipy(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(n=st.integers(1, 1000), share=st.floats(0, 1))
def test_more_confidence_widens_the_interval(n, share):
    narrow, wide = (wilson_interval(round(share * n), n, confidence) for confidence in (0.9, 0.99))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@pytest.mark.parametrize(("successes", "n", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_impossible_shares_and_confidences_are_refused(successes, n, confidence):
    with pytest.raises(ValueError):
        wilson_interval(successes, n, confidence)


@given(gained=st.integers(0, 3000), lost=st.integers(0, 3000))
def test_mcnemar_agrees_with_the_exact_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("gained", "lost"), [(50_000, 50_000), (50_400, 49_600), (52_000, 48_000), (100_000, 0)])
def test_mcnemar_is_stable_for_a_hundred_thousand_verdicts(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue
    assert math.isfinite(mcnemar_exact(gained, lost))
    assert mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-7, abs=1e-300)


def test_mcnemar_rarely_calls_chance_significant():
    chance = random.Random(1)
    significant = sum(
        mcnemar_exact(n := sum(chance.random() < 0.5 for _ in range(40)), 40 - n) < 0.05 for _ in range(2000)
    )
    assert significant / 2000 < 0.06


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)
