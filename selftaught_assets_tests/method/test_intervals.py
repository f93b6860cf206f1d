import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from selftaught_assets.method.scoring.statistics import (
    Interval,
    Tally,
    bootstrap_interval,
    bootstrap_intervals,
    difference_interval,
    mean_of,
    ratio,
    values,
    wilson_interval,
)

ACCURACY = ratio("right", "n")


def counts(right: list[int], n: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"instruction_id": [str(i) for i in range(len(n))], "right": right, "n": n})


@given(n=st.integers(0, 10**6), share=st.floats(0, 1), confidence=st.floats(0.01, 0.999))
def test_a_wilson_interval_lies_in_0_1_and_contains_the_share(n, share, confidence):
    successes = min(n, round(share * n))
    low, high = wilson_interval(successes, n, confidence)
    assert 0 <= low <= high <= 1
    assert n == 0 or low <= successes / n <= high


@pytest.mark.parametrize(
    ("successes", "n", "published"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_a_wilson_interval_is_the_published_one(successes, n, published):
    """Newcombe 1998, Statistics in Medicine 17, pages 857-872, table I, method 3."""
    assert wilson_interval(successes, n) == pytest.approx(published, abs=5e-5)


@given(n=st.integers(1, 1000), share=st.floats(0, 1))
def test_more_confidence_widens_the_interval(n, share):
    narrow, wide = (wilson_interval(round(share * n), n, confidence) for confidence in (0.9, 0.99))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@pytest.mark.parametrize(("successes", "n", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_impossible_shares_and_confidences_are_refused(successes, n, confidence):
    with pytest.raises(ValueError):
        wilson_interval(successes, n, confidence)


def test_clusters_of_one_item_have_the_binomial_spread():
    interval = bootstrap_interval(counts([1] * 140 + [0] * 60, [1] * 200), ACCURACY)
    expected = binom(200, 0.7).ppf([0.025, 0.975]) / 200
    assert interval == pytest.approx(tuple(expected), abs=0.006)


def test_verdicts_that_always_agree_within_an_instruction_count_once():
    """Ten copies of each verdict carry no more information than one; Wilson, which knows no clusters, is fooled."""
    alone = bootstrap_interval(counts([1] * 14 + [0] * 6, [1] * 20), ACCURACY)
    copied = bootstrap_interval(counts([10] * 14 + [0] * 6, [10] * 20), ACCURACY)
    assert copied == alone
    wilson = wilson_interval(140, 200)
    assert copied.high - copied.low > 2 * (wilson.high - wilson.low)


def test_the_interval_covers_at_its_rate_where_wilson_does_not():
    generator = np.random.default_rng(7)
    covered = {"clustered": 0, "wilson": 0}
    for _ in range(300):
        sizes = generator.integers(2, 9, size=150)
        right = generator.binomial(sizes, generator.beta(1.4, 0.6, size=150))
        clustered = bootstrap_interval(counts(right.tolist(), sizes.tolist()), ACCURACY, draws=1000)
        wilson = wilson_interval(int(right.sum()), int(sizes.sum()))
        for name, interval in (("clustered", clustered), ("wilson", wilson)):
            covered[name] += interval.low <= 0.7 <= interval.high
    assert 0.91 < covered["clustered"] / 300 < 0.985
    assert covered["wilson"] / 300 < 0.85


tallies = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(rows=tallies, shuffle=st.randoms())
def test_the_order_of_the_instructions_does_not_matter(rows, shuffle):
    shuffled = shuffle.sample(rows, len(rows))
    one, other = (
        bootstrap_interval(counts([r for r, _ in part], [r + w for r, w in part]), ACCURACY, draws=200)
        for part in (rows, shuffled)
    )
    np.testing.assert_equal(tuple(one), tuple(other))


@given(rows=tallies)
def test_an_interval_of_a_share_lies_in_0_1(rows):
    low, high = bootstrap_interval(counts([r for r, _ in rows], [r + w + 1 for r, w in rows]), ACCURACY, draws=200)
    assert 0 <= low <= high <= 1


def test_another_seed_gives_other_draws_and_the_same_seed_the_same():
    table = counts([1] * 7 + [0] * 5 + [2] * 3, [2] * 15)
    first, again, other = (bootstrap_interval(table, ACCURACY, draws=97, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_where_all_instructions_agree_the_interval_is_a_point():
    assert bootstrap_interval(counts([2] * 9, [2] * 9), ACCURACY) == Interval(1.0, 1.0)


def test_figures_of_one_tally_are_drawn_together():
    """A figure and its mirror image have mirrored intervals, since both come from the same draws."""
    tally = Tally(counts([2, 1, 0, 2, 1], [2] * 5), {"right": ACCURACY, "wrong": lambda t: 1 - ACCURACY(t)})
    intervals = bootstrap_intervals(tally)
    assert intervals["right"].low == pytest.approx(1 - intervals["wrong"].high)


def test_draws_without_a_value_are_left_out():
    table = pl.DataFrame({"instruction_id": ["1", "2"], "right": [1, 0], "n": [1, 0]})
    assert bootstrap_interval(table, ACCURACY) == Interval(1.0, 1.0)


def test_values_are_of_the_sums_and_not_means_of_shares():
    tally = Tally(counts([1, 0], [1, 3]), {"accuracy": ACCURACY, "twice": mean_of(ACCURACY, ACCURACY)})
    assert values(tally) == {"accuracy": 0.25, "twice": 0.25}


def test_no_instruction_is_refused():
    with pytest.raises(ValueError, match="no instruction"):
        bootstrap_interval(counts([], []), ACCURACY)


def test_three_thousand_items_take_about_a_second():
    generator = np.random.default_rng(1)
    table = counts(generator.integers(0, 3, size=3000).tolist(), [2] * 3000)
    started = time.process_time()
    bootstrap_interval(table, ACCURACY)
    assert time.process_time() - started < 1


def test_the_interval_of_a_difference_is_newcombes():
    """Newcombe 1998, Statistics in Medicine 17, table II, method 10, example (a): 56 of 70 and 48 of 80."""
    interval = difference_interval(56 / 70, wilson_interval(56, 70), 48 / 80, wilson_interval(48, 80))
    assert interval == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_the_interval_of_a_difference_is_no_point_at_the_ends_of_the_scale():
    """The same table, example (g): 10 of 10 and 0 of 20."""
    interval = difference_interval(1.0, wilson_interval(10, 10), 0.0, wilson_interval(0, 20))
    assert interval == pytest.approx((0.6791, 1.0), abs=1e-4)
