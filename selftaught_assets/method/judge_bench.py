"""JudgeBench's accuracy (arXiv 2410.12784; rule from ScalerLab/JudgeBench)."""

import polars as pl

from selftaught_assets.method.scoring.accuracy import combined_verdicts, count_by_instruction
from selftaught_assets.method.scoring.statistics import Tally, ratio


def tally(verdicts: pl.DataFrame) -> Tally:
    """`both_orders_accuracy`: a pair is right if one order names the better response and the other does not contradict.

    Each order votes for a response, for the other, or for none (a tie or an invalid verdict); the sum must favour the
    better one. Opposite verdicts, and two that name none, are wrong.

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict.
    """
    pairs = combined_verdicts(verdicts)
    named = [pl.col(name) for name in ("verdict_ab", "verdict_ba")]
    votes_for = pl.sum_horizontal((name == pl.col("label")).fill_null(False).cast(int) for name in named)
    other = pl.col("label").replace({"A": "B", "B": "A"})
    votes_against = pl.sum_horizontal((name == other).fill_null(False).cast(int) for name in named)
    counts = count_by_instruction(pairs, right=(votes_for > votes_against).sum(), n=pl.len())
    return Tally(counts, {"both_orders_accuracy": ratio("right", "n")})
