"""How uncertain a share is, and whether two judges differ: intervals and exact paired tests.

Verdicts are not independent: a pair is judged in both orders, and several pairs may share one instruction. Wilson's
interval and McNemar's test take them as independent anyway, and are what others report. Beside them stand a
bootstrap and a sign-flip test over whole instructions, which are what a claim should rest on.

Wilson's interval and the binomial test are SciPy's. Ours are the bootstrap (each draw of whole instructions, for
several figures at once), the sign-flip test (`scipy.stats.permutation_test` is exact for few clusters only) and the
interval of a difference (SciPy has none).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

DRAWS = 10_000
SEED = 20240805
"""Of all bootstrap draws, so that the same verdicts always have the same interval."""

Totals = Mapping[str, np.ndarray]
"""Sums over instructions by name, one value for each draw."""

Statistic = Callable[[Totals], np.ndarray]
"""A figure as a function of sums over instructions, computed for all draws at once."""


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share: unlike the normal one it stays within [0, 1] and holds at 0 and at n.

    Nothing is known from n = 0: the interval is then [0, 1].

    Raises:
        ValueError: not 0 <= successes <= n, or not 0 < confidence < 1.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are impossible.")
    _require_confidence(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    low, high = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(float(low), float(high))


def difference_interval(first: float, of_first: Interval, second: float, of_second: Interval) -> Interval:
    """The interval of first minus second, two independent estimates with intervals (MOVER: Zou and Donner, 2008).

    With Wilson's intervals it is Newcombe's of a difference of shares, which holds for few rows and near 0 and 1.
    """
    below = math.hypot(first - of_first.low, of_second.high - second)
    above = math.hypot(of_first.high - first, second - of_second.low)
    return Interval(first - second - below, first - second + above)


class Tally(NamedTuple):
    """Counts of each instruction, and the figures that follow from their sums."""

    counts: pl.DataFrame
    """One row for each instruction; every column but instruction_id is a count to be summed."""
    figures: dict[str, Statistic]


def values(tally: Tally) -> dict[str, float]:
    """The figures of the tally as it is; nan where one has no value (a share of nothing)."""
    sums = _columns(tally.counts).sum(axis=0, keepdims=True)
    return {name: float(figure[0]) for name, figure in _evaluate(tally, sums).items()}


def bootstrap_intervals(
    tally: Tally, *, draws: int = DRAWS, seed: int = SEED, confidence: float = 0.95
) -> dict[str, Interval]:
    """Percentile intervals of figures, instructions drawn with replacement (cluster bootstrap).

    Instructions with equal counts are alike, so it is enough to draw how often each kind occurs: one multinomial draw
    instead of a draw for each instruction, with the same distribution.

    Args:
        tally: the figures. Draws in which one is nan (a subset did not occur) are left out of its interval.
        draws: how many samples of instructions.
        seed: of the draws.
        confidence: of the intervals.

    Returns:
        By figure; [nan, nan] where it has no value in any draw. Where all instructions agree an interval is a point:
        resampling cannot show what did not occur; Wilson's interval beside it does.

    Raises:
        ValueError: there is no instruction, or not 0 < confidence < 1.
    """
    if tally.counts.is_empty():
        raise ValueError("There is no instruction to draw.")
    _require_confidence(confidence)
    kinds, occurrences = np.unique(_columns(tally.counts), axis=0, return_counts=True)
    shares = occurrences / tally.counts.height
    drawn = np.random.default_rng(seed).multinomial(tally.counts.height, shares, size=draws)
    ends = [0.5 - confidence / 2, 0.5 + confidence / 2]
    intervals = {}
    for name, drawn_values in _evaluate(tally, drawn @ kinds).items():
        known = drawn_values[~np.isnan(drawn_values)]
        low, high = np.quantile(known, ends) if known.size else (math.nan, math.nan)
        intervals[name] = Interval(float(low), float(high))
    return intervals


def bootstrap_interval(counts: pl.DataFrame, statistic: Statistic, **options: float) -> Interval:
    """`bootstrap_intervals` of one figure."""
    return bootstrap_intervals(Tally(counts, {"": statistic}), **options)[""]


def ratio(part: str, whole: str) -> Statistic:
    """The statistic `part / whole`, both names of counts."""
    return lambda totals: totals[part] / totals[whole]


def mean_of(*statistics: Statistic) -> Statistic:
    """The unweighted mean of several statistics."""
    return lambda totals: sum(statistic(totals) for statistic in statistics) / len(statistics)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test: would tosses of a coin differ as much as gained and lost do?

    Verdicts on which both judges agree carry no information and do not enter.

    Raises:
        ValueError: a count is negative.
    """
    from scipy.stats import binomtest

    if min(gained, lost) < 0:
        raise ValueError(f"Counts cannot be negative: {gained} gained, {lost} lost.")
    return float(binomtest(gained, gained + lost).pvalue) if gained or lost else 1.0


def sign_flip_exact(differences: Iterable[int]) -> float:
    """Two-sided exact p-value of the sign-flip (permutation) test over clusters.

    If two judges are equally good, the difference between them on one instruction, over all its pairs and both orders,
    is as likely to have the other sign. All 2^k assignments of signs are counted, by convolution instead of by draws,
    so that no seed is needed. Where each instruction has one verdict it is McNemar's exact test.

    Args:
        differences: for each instruction, right verdicts of the one judge minus right verdicts of the other.

    Returns:
        Share of the assignments whose sum lies as far from 0 as the observed one; 0.0 where no double is that small.
    """
    from scipy.stats import binom

    moved = [difference for difference in differences if difference]
    total, observed = sum(map(abs, moved)), abs(sum(moved))
    share_of_sum = np.ones(1)
    for size, count in sorted(Counter(map(abs, moved)).items()):
        heads = np.zeros(count * size + 1)
        heads[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        share_of_sum = np.convolve(share_of_sum, heads)
    tail = share_of_sum[: (total - observed) // 2 + 1].sum()
    return min(1.0, 2 * float(tail))


def _columns(counts: pl.DataFrame) -> np.ndarray:
    return counts.drop("instruction_id").cast(pl.Float64).to_numpy()


def _evaluate(tally: Tally, sums: np.ndarray) -> dict[str, np.ndarray]:
    names = tally.counts.drop("instruction_id").columns
    totals = {name: sums[:, index] for index, name in enumerate(names)}
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: figure(totals) for name, figure in tally.figures.items()}


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie between 0 and 1, not {confidence}.")
