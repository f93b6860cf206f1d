"""Held-out synthetic pairs: how well a judge does on pairs of the kind that it was trained on, but did not see.

Their instructions lie in the validation split, so neither this judge nor, with one seed in all iterations, one before
it was trained on them. All kept pairs count, also those of which no right judgment was found: a choice by the judge
would flatter it. They are judged as benchmark pairs are, greedily and in both orders, and stand in the table of
verdicts under the name `HELD_OUT`, which no benchmark may have. They are no benchmark: their labels are synthetic, so
nothing that reports accuracies counts them.
"""

from typing import NamedTuple

import polars as pl

from selftaught_assets.method.scoring.accuracy import Scores
from selftaught_assets.method.scoring.statistics import Interval, difference_interval
from selftaught_assets.method.training_set import VALIDATION, assign_split

HELD_OUT = "held_out"


class Gap(NamedTuple):
    """Accuracy on held-out synthetic pairs minus accuracy on a benchmark."""

    value: float
    interval: Interval
    """95 %; the two samples are independent."""


def held_out_items(pairs: pl.DataFrame, *, validation_share: float, seed: int) -> pl.DataFrame:
    """The held-out pairs as rows of the table `benchmarks`; which side is A matters not, since both orders are judged.

    Args:
        pairs: the table of pairs.
        validation_share: of the recipe's filter.
        seed: of the recipe: the split is that of the filtered set.
    """
    kept = pairs.filter(pl.col("drop_reason").is_null())
    split = assign_split(kept, validation_share=validation_share, seed=seed)
    nothing = pl.lit(None, dtype=pl.String)
    return split.filter(pl.col("split") == VALIDATION).select(
        benchmark=pl.lit(HELD_OUT),
        subset=pl.col("strategy"),
        item_id="pair_id",
        group_id="pair_id",
        instruction_id="instruction_id",
        instruction="instruction",
        response_a="chosen",
        response_b="rejected",
        label=pl.lit("A"),
        reference=nothing,
        variant=nothing,
        drop_reason=nothing,
    )


def without_held_out(verdicts: pl.DataFrame) -> pl.DataFrame:
    """The verdicts on benchmarks."""
    return verdicts.filter(pl.col("benchmark") != HELD_OUT)


def overfit_gap(held_out: Scores, benchmark: Scores) -> Gap:
    """How much better a judge is on held-out synthetic pairs than on a benchmark.

    Both accuracies are of greedy verdicts in both orders, an invalid one counting as wrong. The interval of the
    difference is put together from those of both (`difference_interval`), of each the wider end of Wilson's and
    of the bootstrap over instructions: the one overlooks that verdicts belong together, the other is a point where all
    agree.
    """
    interval = difference_interval(held_out.accuracy, _wider(held_out), benchmark.accuracy, _wider(benchmark))
    return Gap(held_out.accuracy - benchmark.accuracy, interval)


def _wider(scores: Scores) -> Interval:
    return Interval(
        min(scores.interval.low, scores.interval_clustered.low),
        max(scores.interval.high, scores.interval_clustered.high),
    )
