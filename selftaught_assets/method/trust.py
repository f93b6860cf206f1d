"""What the votes of a judge on a benchmark say about how far its confidence can be trusted.

Belongs here: calibration and abstaining on a table of votes. Not here: the arithmetic (`confidence`), and accuracy
without confidence (`scores`). Ours: the paper stops at the majority vote.
"""

from typing import NamedTuple

import polars as pl

from selftaught_assets.method.confidence import (
    accuracy_coverage,
    expected_calibration_error,
    fit_calibration,
    reliability_table,
    vote_share,
)
from selftaught_assets.method.scores import IS_RIGHT


class Trust(NamedTuple):
    """How far the share of votes for a verdict says how likely it is right."""

    calibration_error: float
    """Expected calibration error of the bare vote share, over ten bins."""
    calibrated_error: float | None
    """The same after calibration, each half of the instructions by the map that was fitted on the other half; None
    where one half is empty."""
    reliability: pl.DataFrame
    """From `confidence.reliability_table`."""
    coverage: pl.DataFrame
    """From `confidence.accuracy_coverage`: what abstaining below each threshold would leave, and how good it is."""


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
