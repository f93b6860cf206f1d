"""The confidence of a verdict, whether it can be trusted, and the cost of abstaining.

The paper stops at the majority vote; all of this is ours. The confidence is the share of votes, and a calibration maps
it to the share of verdicts that were right at it.

Fit the map on validation verdicts, and report the calibration error on others (`trust` does so half by half): on the
verdicts that it was fitted on the map looks better than it is. Confidences can only be compared where as many votes
were cast: a vote that was stopped early (`votes.is_decided`) has a larger share than the full vote would have.

The isotonic regression is SciPy's: it returns the stairs, where scikit-learn's `IsotonicRegression` interpolates
between them. The reliability table is ours: scikit-learn's `calibration_curve` does not count the verdicts in a bin.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from selftaught_assets.method.scoring.accuracy import IS_RIGHT

_VALID = ("votes_a", "votes_b", "votes_tie")
_VOTES = pl.sum_horizontal(*_VALID, "votes_invalid")
_MOST = pl.max_horizontal(*_VALID)


def vote_share(votes: pl.DataFrame) -> pl.Series:
    """The share of all votes cast, invalid ones included, that went to the leader: from 0 (no valid vote) to 1.

    Args:
        votes: votes_a, votes_b, votes_tie, votes_invalid, as `votes.count_votes` makes them.
    """
    return _share(votes, _MOST, "vote_share")


def margin(votes: pl.DataFrame) -> pl.Series:
    """By how much of all votes cast the leader is ahead of the next: from 0 (a draw, or no valid vote) to 1.

    Args:
        votes: votes_a, votes_b, votes_tie, votes_invalid, as `votes.count_votes` makes them.
    """
    second = pl.concat_list(*_VALID).list.sort(descending=True).list.get(1)
    return _share(votes, _MOST - second, "margin")


def reliability_table(confidence: pl.Series, is_right: pl.Series, *, bins: int = 10) -> pl.DataFrame:
    """How often verdicts of about the same confidence are right.

    Args:
        confidence: of each verdict, in [0, 1].
        is_right: whether it is right; an invalid verdict is not.
        bins: of equal width. A bin holds its lower end and not its upper one; the last holds both.

    Returns:
        low, high, n, confidence and accuracy (means over the bin's verdicts, null where n is 0), one row for each bin.

    Raises:
        ValueError: a confidence is missing or outside [0, 1].
    """
    verdicts = _verdicts(confidence, is_right)
    lows = [index / bins for index in range(bins)]
    edges = pl.DataFrame(
        {"bin": range(bins), "low": lows, "high": [*lows[1:], 1.0]}, schema_overrides={"bin": pl.Int64}
    )
    places = pl.Series("bin", np.searchsorted(lows, verdicts["confidence"].to_numpy(), side="right") - 1)
    means = (
        verdicts.with_columns(places)
        .group_by("bin")
        .agg(
            pl.len().cast(pl.Int64).alias("n"), pl.col("confidence").mean(), pl.col("is_right").mean().alias("accuracy")
        )
    )
    return (
        edges.join(means, on="bin", how="left", maintain_order="left")
        .drop("bin")
        .with_columns(pl.col("n").fill_null(0))
    )


def expected_calibration_error(reliability: pl.DataFrame) -> float:
    """The mean distance of confidence and accuracy over the bins of a `reliability_table`, weighted by their n.

    Raises:
        ValueError: there is no verdict.
    """
    n = reliability["n"].sum()
    if not n:
        raise ValueError("There is no verdict to measure calibration on.")
    distance = (reliability["confidence"] - reliability["accuracy"]).abs().fill_null(0.0)
    return float((distance * reliability["n"]).sum() / n)


class Calibration(NamedTuple):
    """A map from a confidence to the share of verdicts that were right at it: a staircase that never falls."""

    starts: tuple[float, ...]
    """Lowest confidence of each stair, rising."""
    accuracies: tuple[float, ...]
    """Share of right verdicts on each stair, rising."""
    counts: tuple[int, ...]
    """Verdicts behind each stair: with few of them its height means little."""

    def apply(self, confidence: pl.Series) -> pl.Series:
        """The calibrated confidence; below the first stair it is the first one's."""
        stairs = np.searchsorted(self.starts, confidence.to_numpy(), side="right") - 1
        return pl.Series("calibrated", np.array(self.accuracies)[np.maximum(stairs, 0)])


def fit_calibration(confidence: pl.Series, is_right: pl.Series) -> Calibration:
    """The rising staircase that is nearest to the verdicts in least squares (isotonic regression).

    Neighbouring levels are pooled until no level is right less often than a lower one. It has nothing to choose, needs
    no seed, and leaves the order of verdicts as it is, except that it can make two levels equal.

    Args:
        confidence: of each validation verdict, in [0, 1].
        is_right: whether it is right.

    Raises:
        ValueError: there is no verdict, or a confidence is missing or outside [0, 1].
    """
    from scipy.optimize import isotonic_regression

    levels = (
        _verdicts(confidence, is_right)
        .group_by("confidence")
        .agg(pl.len().alias("n"), pl.col("is_right").sum().alias("right"))
        .sort("confidence")
    )
    if levels.is_empty():
        raise ValueError("There is no verdict to fit a calibration on.")
    n, right = levels["n"].to_numpy(), levels["right"].to_numpy()
    firsts = isotonic_regression(right / n, weights=n).blocks[:-1]
    counts = np.add.reduceat(n, firsts)
    return Calibration(
        starts=tuple(levels["confidence"].gather(firsts)),
        accuracies=tuple((np.add.reduceat(right, firsts) / counts).tolist()),
        counts=tuple(counts.tolist()),
    )


def accuracy_coverage(confidence: pl.Series, is_right: pl.Series) -> pl.DataFrame:
    """What abstaining costs and gains: the judge answers only where its confidence reaches a threshold.

    Args:
        confidence: of each verdict, in [0, 1].
        is_right: whether it is right.

    Returns:
        threshold, n (verdicts given), coverage (their share of all) and accuracy (of those given), one row for each
        confidence that occurs, from the highest threshold to the lowest, at which all are given.

    Raises:
        ValueError: a confidence is missing or outside [0, 1].
    """
    levels = (
        _verdicts(confidence, is_right)
        .group_by("confidence")
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col("is_right").sum().cast(pl.Int64).alias("right"))
        .sort("confidence", descending=True)
        .with_columns(pl.col("n", "right").cum_sum())
    )
    return levels.select(
        pl.col("confidence").alias("threshold"),
        "n",
        (pl.col("n") / confidence.len()).alias("coverage"),
        (pl.col("right") / pl.col("n")).alias("accuracy"),
    )


class Trust(NamedTuple):
    """How well the share of votes for a verdict predicts that it is right."""

    calibration_error: float
    """Expected calibration error of the bare vote share, over ten bins."""
    calibrated_error: float | None
    """The same after calibration, each half of the instructions by the map that was fitted on the other half; None
    where one half is empty."""
    reliability: pl.DataFrame
    """From `reliability_table`."""
    coverage: pl.DataFrame
    """From `accuracy_coverage`: what abstaining below each threshold would leave, and how good it is."""


def trust(votes: pl.DataFrame) -> Trust:
    """Measures the confidence of one judge on one benchmark.

    Args:
        votes: instruction_id, label, verdict, votes_a, votes_b, votes_tie, votes_invalid; equally many in all rows.

    Raises:
        ValueError: there are no votes.
    """
    verdicts = votes.select(
        vote_share(votes).alias("confidence"),
        IS_RIGHT.alias("is_right"),
        (pl.col("instruction_id").rank("dense") % 2 == 0).alias("half"),  # Ids are hashes: their order is no order.
    )
    reliability = reliability_table(verdicts["confidence"], verdicts["is_right"])
    return Trust(
        calibration_error=expected_calibration_error(reliability),
        calibrated_error=_calibrated_error(verdicts),
        reliability=reliability,
        coverage=accuracy_coverage(verdicts["confidence"], verdicts["is_right"]),
    )


def _share(votes: pl.DataFrame, part: pl.Expr, name: str) -> pl.Series:
    return votes.select(pl.when(_VOTES > 0).then(part / _VOTES).otherwise(0.0).alias(name)).to_series()


def _verdicts(confidence: pl.Series, is_right: pl.Series) -> pl.DataFrame:
    verdicts = pl.DataFrame({"confidence": confidence.cast(pl.Float64), "is_right": is_right.fill_null(False)})
    outside = verdicts.filter(~pl.col("confidence").is_between(0, 1).fill_null(False))
    if outside.height:
        raise ValueError(f"A confidence must lie between 0 and 1, not {outside['confidence'][0]}.")
    return verdicts


def _calibrated_error(verdicts: pl.DataFrame) -> float | None:
    halves = [verdicts.filter("half"), verdicts.filter(~pl.col("half"))]
    if not all(half.height for half in halves):
        return None
    confidence, is_right = [], []
    for half, other in (halves, halves[::-1]):
        calibration = fit_calibration(other["confidence"], other["is_right"])
        confidence.append(calibration.apply(half["confidence"]))
        is_right.append(half["is_right"])
    return expected_calibration_error(reliability_table(pl.concat(confidence), pl.concat(is_right)))
