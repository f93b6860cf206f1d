"""How good a judge is on labelled pairs, with the uncertainty of the figure.

Belongs here: accuracies, intervals and paired tests on tables of verdicts. Not here: making the verdicts (`judging`,
`votes`) and printing the result.

A table of verdicts has the columns benchmark, item_id, order, label (the right verdict in this order) and verdict (A,
B, or null for invalid), one row for each pair and order. An invalid verdict is not right, and is counted as invalid.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import polars as pl

_KEY = ["benchmark", "item_id", "order"]
_IS_RIGHT = (pl.col("verdict") == pl.col("label")).fill_null(False)


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


class Scores(NamedTuple):
    """One judge on one set of pairs, every pair judged in both orders. All but the counts are shares in [0, 1]."""

    n: int
    """Verdicts counted: pairs × 2 orders."""
    right: int
    accuracy: float
    """Over both orders: each counts one half of the pair."""
    interval: Interval
    """Wilson, 95 %, of `accuracy` over n verdicts. It takes them as independent, which the two on a pair are not."""
    position_consistent: float
    """Share of pairs judged right in both orders."""
    winner_first: float
    """Accuracy where the better response stands first (the right verdict is A)."""
    loser_first: float
    invalid: float


class Comparison(NamedTuple):
    """Two judges on the same items; the p-value is McNemar's, exact and two-sided."""

    n: int
    gained: int
    """Verdicts that were wrong before and are right after."""
    lost: int
    """Verdicts that were right before and are wrong after."""
    p_value: float


def with_score(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Adds `score`: 1.0 where the verdict is right, else 0.0; an invalid verdict is not half right."""
    return verdicts.with_columns(_IS_RIGHT.cast(pl.Float64).alias("score"))


def score(verdicts: pl.DataFrame) -> Scores:
    """Scores a table of verdicts (paper section 4: accuracy on preference pairs).

    Raises:
        ValueError: the table is empty, or a pair is not judged exactly once in each order.
    """
    if verdicts.height == 0:
        raise ValueError("There is no verdict to score.")
    pairs = verdicts.group_by("benchmark", "item_id").agg(
        _IS_RIGHT.all().alias("consistent"), pl.len().alias("verdicts"), pl.col("label").n_unique().alias("labels")
    )
    odd = pairs.filter((pl.col("verdicts") != 2) | (pl.col("labels") != 2)).sort("item_id")
    if odd.height:
        first = odd["item_id"][0]
        raise ValueError(f"{odd.height} pairs are not judged once in each order, the first one is {first!r}.")
    winner_first = pl.col("label") == "A"
    counts = verdicts.select(
        _IS_RIGHT.sum().alias("right"),
        _IS_RIGHT.filter(winner_first).mean().alias("winner_first"),
        _IS_RIGHT.filter(~winner_first).mean().alias("loser_first"),
        pl.col("verdict").is_null().mean().alias("invalid"),
    ).row(0, named=True)
    n = verdicts.height
    return Scores(
        n=n,
        accuracy=counts["right"] / n,
        interval=wilson_interval(counts["right"], n),
        position_consistent=pairs["consistent"].mean(),
        **counts,
    )


def single_sample_accuracy(votes: pl.DataFrame) -> float:
    """Share of right votes among all votes, invalid ones included: what one sample would score on average.

    Args:
        votes: votes_a, votes_b, votes_invalid, label.

    Raises:
        ValueError: there are no votes.
    """
    right = pl.when(pl.col("label") == "A").then("votes_a").otherwise("votes_b").sum()
    count = pl.sum_horizontal("votes_a", "votes_b", "votes_invalid").sum()
    right_votes, all_votes = votes.select(right.alias("right"), count.alias("count")).row(0)
    if not all_votes:
        raise ValueError("There is no vote to score.")
    return right_votes / all_votes


def compare(before: pl.DataFrame, after: pl.DataFrame) -> Comparison:
    """Tests whether two judges differ, on the same items in the same orders.

    Raises:
        ValueError: the two tables do not hold the same items, so that the test would not be paired.
    """
    sides = [frame.select(*_KEY, _IS_RIGHT.alias("right")) for frame in (before, after)]
    keys = [side.select(_KEY).sort(_KEY) for side in sides]
    if not keys[0].equals(keys[1]):
        raise ValueError(
            f"The two judges were not measured on the same items ({before.height} and {after.height} verdicts): "
            "evaluate both on the same benchmarks."
        )
    both = sides[0].join(sides[1], on=_KEY, suffix="_after", validate="1:1")
    gained = both.filter(~pl.col("right") & pl.col("right_after")).height
    lost = both.filter(pl.col("right") & ~pl.col("right_after")).height
    return Comparison(both.height, gained, lost, mcnemar_exact(gained, lost))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share: unlike the normal one it stays within [0, 1] and holds at 0 and at n.

    Nothing is known from n = 0: the interval is then [0, 1].

    Raises:
        ValueError: not 0 <= successes <= n, or not 0 < confidence < 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are impossible.")
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie between 0 and 1, not {confidence}.")
    if n == 0:
        return Interval(0.0, 1.0)
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test: would tosses of a coin differ as much as gained and lost do?

    Verdicts on which both judges agree carry no information and do not enter. The binomial tail is summed from its
    largest term, relative to it, so that nothing overflows at large counts.

    Raises:
        ValueError: a count is negative.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"Counts cannot be negative: {gained} gained, {lost} lost.")
    n, fewer = gained + lost, min(gained, lost)
    log_largest = math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2)
    term, tail = 1.0, 0.0
    for k in range(fewer, -1, -1):
        tail += term
        term *= k / (n - k + 1)
    return min(1.0, 2 * math.exp(log_largest) * tail)
