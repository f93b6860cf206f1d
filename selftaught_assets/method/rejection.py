"""Rejection sampling: which judgments the next judge learns from.

Belongs here: the choice among the judgments of a pair. Not here: the balance of labels (`balance`), the validation
split (`splits`) and the training texts (`examples`).
"""

from typing import Literal

import polars as pl

from selftaught_assets.method.draws import draw

DROP_REASONS = ("invalid_verdict", "tie_verdict", "wrong_verdict", "truncated", "not_drawn")
"""Why a judgment is not trained on. Where several apply, the first in this order is reported."""


def select_examples(judgments: pl.DataFrame, *, keep: Literal["correct", "any"], seed: int) -> pl.DataFrame:
    """Draws one judgment for each pair and position (paper section 3, "Judgment Annotation").

    Judgments whose verdict is wrong are rejected; one of the others is kept, each equally likely; a pair without a
    right one gives nothing. With `keep="any"` wrong verdicts stay in the draw: the control that shows what the filter
    teaches. Invalid and truncated judgments are left out of both, since they would teach to give no verdict; so are
    ties, since a constructed pair has a better response and an example's label is A or B.

    Args:
        judgments: judgment_id, pair_id, chosen_position, verdict, is_correct, finish_reason and any further columns.
        seed: of the draw, which belongs to the judgments' ids: the order of rows has no influence.

    Returns:
        Every row, in its order, with `drop_reason` (null = drawn).
    """
    wrong = ~pl.col("is_correct") if keep == "correct" else pl.lit(False)
    fault = (
        pl.when(pl.col("verdict").is_null())
        .then(pl.lit("invalid_verdict"))
        .when(pl.col("verdict") == "TIE")
        .then(pl.lit("tie_verdict"))
        .when(wrong)
        .then(pl.lit("wrong_verdict"))
        .when(pl.col("finish_reason") == "length")
        .then(pl.lit("truncated"))
    )
    lot = pl.when(pl.col("drop_reason").is_null()).then(draw("judgment_id", seed, "rejection"))
    drawn = lot == lot.min().over("pair_id", "chosen_position")
    return judgments.with_columns(fault.alias("drop_reason")).with_columns(
        pl.coalesce("drop_reason", pl.when(~drawn).then(pl.lit("not_drawn"))).alias("drop_reason")
    )
