import math
import random
from fractions import Fraction
from itertools import product
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from selftaught_assets.method.scoring.statistics import mcnemar_exact, sign_flip_exact

differences = st.lists(st.integers(-4, 4), max_size=10)


@given(gained=st.integers(0, 400), lost=st.integers(0, 400))
def test_mcnemar_counts_the_tosses_that_differ_as_much(gained, lost):
    n, fewer = gained + lost, min(gained, lost)
    expected = Fraction(2 * sum(math.comb(n, k) for k in range(fewer + 1)), 2**n)
    assert mcnemar_exact(gained, lost) == pytest.approx(float(min(Fraction(1), expected)), rel=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(50_400, 49_600), (50_600, 49_400), (49_200, 50_800)])
def test_mcnemar_of_a_hundred_thousand_verdicts_is_the_normal_limit(gained, lost):
    distance = (abs(gained - lost) - 1) / math.sqrt(gained + lost)
    assert mcnemar_exact(gained, lost) == pytest.approx(2 * NormalDist().cdf(-distance), rel=1e-3)


def test_mcnemar_is_stable_at_the_ends_of_the_scale():
    assert mcnemar_exact(100_000, 0) == 0.0
    assert mcnemar_exact(50_000, 50_000) == mcnemar_exact(0, 0) == 1.0


def test_mcnemar_rarely_calls_chance_significant():
    chance = random.Random(1)
    significant = sum(
        mcnemar_exact(n := sum(chance.random() < 0.5 for _ in range(40)), 40 - n) < 0.05 for _ in range(2000)
    )
    assert significant / 2000 < 0.06


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)


@given(gained=st.integers(0, 200), lost=st.integers(0, 200))
def test_a_sign_flip_test_of_single_verdicts_is_mcnemars(gained, lost):
    flipped = sign_flip_exact([1] * gained + [-1] * lost + [0] * 5)
    assert flipped == pytest.approx(mcnemar_exact(gained, lost), rel=1e-9)


@given(values=differences)
def test_a_sign_flip_test_counts_all_assignments_of_signs(values):
    observed = abs(sum(values))
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=len(values))
    ]
    assert sign_flip_exact(values) == pytest.approx(sum(s >= observed for s in sums) / len(sums))


def test_a_sign_flip_test_agrees_with_scipy():
    values = [2, 1, 1, -1, 2, 0, 3, -2, 1, 1, 1, 2]
    expected = permutation_test((values,), sum, permutation_type="samples", n_resamples=10**6).pvalue
    assert sign_flip_exact(values) == pytest.approx(expected)


@given(values=differences)
def test_the_other_way_round_has_the_same_p_value(values):
    assert sign_flip_exact(values) == sign_flip_exact([-value for value in values])


def test_judges_that_never_differ_are_not_told_apart():
    assert sign_flip_exact([]) == sign_flip_exact([0, 0]) == 1.0


def test_copies_of_a_verdict_fool_mcnemar_and_not_the_sign_flip_test():
    moved = [1] * 9 + [-1] * 4
    assert mcnemar_exact(90, 40) < 1e-4
    assert sign_flip_exact([10 * value for value in moved]) == pytest.approx(sign_flip_exact(moved))
    assert sign_flip_exact(moved) > 0.2


def test_equally_good_judges_are_rarely_told_apart_where_verdicts_come_in_clusters():
    chance = random.Random(3)
    significant = {"clustered": 0, "mcnemar": 0}
    for _ in range(400):
        moved = [chance.choice([-4, -3, -2, -1, 0, 1, 2, 3, 4]) for _ in range(60)]
        gained, lost = sum(v for v in moved if v > 0), -sum(v for v in moved if v < 0)
        significant["clustered"] += sign_flip_exact(moved) < 0.05
        significant["mcnemar"] += mcnemar_exact(gained, lost) < 0.05
    assert significant["clustered"] / 400 < 0.08
    assert significant["mcnemar"] / 400 > 0.15


def test_a_sign_flip_test_is_stable_for_thousands_of_instructions():
    assert 0 <= sign_flip_exact([2] * 2000 + [-1] * 1500 + [1] * 900) < 1e-60
    assert math.isfinite(sign_flip_exact([2] * 5000))
    assert sign_flip_exact([2] * 1500 + [-2] * 1500) == pytest.approx(1.0)
