"""The filtered set of the single form: from ratings to training examples.

Belongs here: the choice of two judgments for each pair, the text of an example, and how much a rating tells by itself.
Not here: the judgments (`single`), the split (`splits`), the pairwise form (`rejection`, `balance`, `examples`).

Balance comes by itself: a pair gives an example of its winner and one of its loser, or none. So as many responses that
deserve more as such that deserve less are trained on, in each split too.
"""

from typing import Literal

import polars as pl

from selftaught_assets.method import examples
from selftaught_assets.method.draws import draw
from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.prompts import PromptTemplates, score_messages
from selftaught_assets.method.single import COLUMNS as JUDGMENT_COLUMNS
from selftaught_assets.method.splits import assign_split

DROP_REASONS = ("invalid_rating", "truncated", "pair_not_ordered", "wrong_rating", "not_drawn")
"""Why a judgment is not trained on. Where several apply, the first in this order is reported."""

COLUMNS = (*examples.COLUMNS, "rating")


def select_two(judgments: pl.DataFrame, *, keep: Literal["correct", "any"], seed: int) -> pl.DataFrame:
    """Draws for each pair one judgment of the winner and one of the loser, together.

    Rejection sampling as in the paper (section 3, "Judgment Annotation"), where what can be right is a combination of
    two judgments: those in which the winner outscores the loser stay, each of them is equally likely, and a pair
    without one gives nothing. With `keep="any"` all combinations stay: the control. Invalid and truncated judgments are
    in no combination.

    Args:
        judgments: judgment_id, pair_id, rated, rating, finish_reason and any further columns.
        seed: of the draw, which belongs to the judgments' ids: the order of rows has no influence.

    Returns:
        Every row, in its order, with `drop_reason` (null = drawn): of each pair two rows are kept, or none.
    """
    fault = (
        pl.when(pl.col("rating").is_null())
        .then(pl.lit("invalid_rating"))
        .when(pl.col("finish_reason") == "length")
        .then(pl.lit("truncated"))
    )
    judged = judgments.with_columns(fault.alias("drop_reason"))
    sides = judged.filter(pl.col("drop_reason").is_null()).select("judgment_id", "pair_id", "rated", "rating")
    winners, losers = (sides.filter(pl.col("rated") == name) for name in ("chosen", "rejected"))
    combinations = winners.join(losers, on="pair_id", suffix="_rejected").filter(
        (pl.col("rating") > pl.col("rating_rejected")) | (keep == "any")
    )
    lot = draw("judgment_id", seed, "rejection", "judgment_id_rejected")
    drawn = combinations.filter(lot == lot.min().over("pair_id"))
    both = ("judgment_id", "judgment_id_rejected")
    in_some, in_drawn = (
        pl.col("judgment_id").is_in(pl.concat([frame[name] for name in both]).unique().implode())
        for frame in (combinations, drawn)
    )
    ordered = pl.col("pair_id").is_in(combinations["pair_id"].unique().implode())
    choice = (
        pl.when(~ordered)
        .then(pl.lit("pair_not_ordered"))
        .when(~in_some)
        .then(pl.lit("wrong_rating"))
        .when(~in_drawn)
        .then(pl.lit("not_drawn"))
    )
    return judged.with_columns(pl.coalesce("drop_reason", choice).alias("drop_reason"))


def filtered_set(
    judgments: pl.DataFrame,
    pairs: pl.DataFrame,
    templates: PromptTemplates,
    *,
    keep: Literal["correct", "any"],
    validation_share: float,
    seed: int,
) -> pl.DataFrame:
    """The table of candidate training examples, one row for each judgment that was not dropped before.

    An example asks as the judge was asked and answers with the judgment. Both examples of a pair are on one side of the
    split, which is by instruction.

    Args:
        judgments: from `single.ratings_table`; its dropped rows are left out.
        pairs: the table of pairs that they judge.
        seed: of the draw and of the split.

    Returns:
        `COLUMNS`: those of the pairwise form, where `label` is the response that was rated (chosen or rejected), and
        `rating`. `messages` and `completion` are null in dropped rows.

    Raises:
        ValueError: a judgment's pair is not in `pairs`, or there is no template `score`.
    """
    candidates = judgments.filter(pl.col("drop_reason").is_null()).select(JUDGMENT_COLUMNS)
    facts = examples.pair_facts(candidates, pairs)
    drawn = select_two(candidates, keep=keep, seed=seed).rename({"rated": "label"})
    known = drawn.join(facts, on="pair_id", how="left", maintain_order="left")
    split = assign_split(known, validation_share=validation_share, seed=seed)
    messages = [
        score_messages(templates, instruction, chosen if label == "chosen" else rejected) if reason is None else None
        for reason, label, instruction, chosen, rejected in split.select(
            "drop_reason", "label", "instruction", "chosen", "rejected"
        ).iter_rows()
    ]
    return split.with_columns(
        pl.Series("example_id", row_ids("example", split["judgment_id"]), dtype=pl.String),
        pl.Series("messages", messages, dtype=examples.MESSAGES),
        pl.when(pl.col("drop_reason").is_null()).then("judgment").alias("completion"),
    ).select(COLUMNS)


def rating_distribution(frame: pl.DataFrame) -> pl.DataFrame:
    """How often each rating was kept for a winner and for a loser.

    Args:
        frame: from `filtered_set`.

    Returns:
        rating, chosen, rejected; ratings that occur, in ascending order.
    """
    kept = frame.filter(pl.col("drop_reason").is_null())
    return (
        kept.group_by("rating")
        .agg((pl.col("label") == name).sum().cast(pl.Int64).alias(name) for name in ("chosen", "rejected"))
        .sort("rating")
    )


def told_by_rating(distribution: pl.DataFrame) -> float:
    """How often one would guess from a kept rating alone whose it is, the winner's or the loser's.

    One half says that the ratings of winners and losers are distributed alike, and each response was rated on a scale
    of its own pair; 1.0 that one threshold parts all winners from all losers, whatever the instruction. A winner that
    always outscores its loser needs more than one half, wherever pairs share a scale.

    Args:
        distribution: from `rating_distribution`.

    Returns:
        A share in [0.5, 1]; 0.5 where there is nothing to tell.
    """
    best = distribution.select(pl.max_horizontal("chosen", "rejected").sum()).item()
    count = distribution.select((pl.col("chosen") + pl.col("rejected")).sum()).item()
    return best / count if count else 0.5
