"""The filtered set: rejection sampling, balance of labels, splits, and the training examples (paper section 3).

Rejection sampling: which judgments the next judge learns from.
"""

from typing import Literal

import polars as pl

from selftaught_assets.method.identity import draw, frame_digest, python_values, row_ids, share
from selftaught_assets.method.judging import JUDGMENT_COLUMNS
from selftaught_assets.method.prompts import PromptTemplates, judge_messages

TRAIN, VALIDATION = "train", "validation"


def assign_split(frame: pl.DataFrame, *, validation_share: float, seed: int) -> pl.DataFrame:
    """Adds the column `split` (paper section 4: checkpoints are chosen by accuracy on held-out pairs).

    All rows of an instruction fall on one side: two examples of one instruction on both sides would let the judge be
    examined on what it has seen. An instruction's side depends on its id and the seed alone. So the share is met on
    average, not exactly, and with one seed for all iterations no judge is examined on what its predecessor was trained
    on.

    Args:
        frame: instruction_id and any further columns.
        validation_share: probability that an instruction is held out.
        seed: the same in every iteration of a recipe.
    """
    held_out = share("instruction_id", seed, "split") < validation_share
    return frame.with_columns(pl.when(held_out).then(pl.lit(VALIDATION)).otherwise(pl.lit(TRAIN)).alias("split"))


DROP_REASON = "balance"


def balance_labels(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Cuts A and B to equal numbers in each split (paper section 3, "Judgment Annotation").

    A judge trained on more A than B would learn to prefer A. The rarer label stays whole, and as many of the other are
    drawn: no way to equal numbers drops fewer rows. It is done within each split, so that always answering A scores one
    half on the validation examples too, and neither split pays for a surplus in the other.

    Args:
        frame: judgment_id, label (A or B; may be null in dropped rows), split, drop_reason.
        seed: of the draw among the more frequent label, which belongs to the judgments' ids.

    Returns:
        Every row, in its order; kept rows that are cut get the reason "balance".
    """
    kept = pl.col("drop_reason").is_null()
    size = pl.min_horizontal((kept & (pl.col("label") == label)).sum().over("split") for label in ("A", "B"))
    place = pl.when(kept).then(draw("judgment_id", seed, "balance")).rank("ordinal").over("split", "label")
    return frame.with_columns(
        pl.when(place > size).then(pl.lit(DROP_REASON)).otherwise("drop_reason").alias("drop_reason")
    )


DROP_REASONS = ("invalid_verdict", "tie_verdict", "wrong_verdict", "truncated", "not_drawn")
"""Why a judgment is not trained on. If several apply, the first in this order is reported."""


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
    number = pl.when(pl.col("drop_reason").is_null()).then(draw("judgment_id", seed, "rejection"))
    drawn = number == number.min().over("pair_id", "chosen_position")
    return judgments.with_columns(fault.alias("drop_reason")).with_columns(
        pl.coalesce("drop_reason", pl.when(~drawn).then(pl.lit("not_drawn"))).alias("drop_reason")
    )


EXAMPLE_COLUMNS = (
    "example_id",
    "judgment_id",
    "pair_id",
    "instruction_id",
    "messages",
    "completion",
    "label",
    "split",
    "drop_reason",
)
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def filtered_set(
    judgments: pl.DataFrame,
    pairs: pl.DataFrame,
    templates: PromptTemplates,
    *,
    keep: Literal["correct", "any"],
    validation_share: float,
    seed: int,
    ties: bool = False,
) -> pl.DataFrame:
    """The table of candidate training examples, one row for each kept judgment (section 3, "Judgment Annotation").

    An example asks as the judge was asked and answers with the judgment; its label is the judgment's verdict, which is
    the right one unless `keep` is "any". The steps are: draw one judgment for each pair and position, split by
    instruction, balance the labels within each split.

    Args:
        judgments: the table of judgments; its dropped rows are left out.
        pairs: the table of pairs that they judge.
        seed: of all three steps. With one seed in all iterations the split by instruction is the same in all.
        ties: whether the judge was offered a tie.

    Returns:
        `EXAMPLE_COLUMNS`; `messages` (a list of role and content) and `completion` are null in dropped rows, whose
        texts are in the tables of pairs and judgments.

    Raises:
        ValueError: a judgment's pair is not in `pairs`.
    """
    candidates = judgments.filter(pl.col("drop_reason").is_null()).select(JUDGMENT_COLUMNS)
    facts = pair_facts(candidates, pairs)
    drawn = select_examples(candidates, keep=keep, seed=seed)
    labelled = drawn.rename({"verdict": "label"}).join(
        facts.select("pair_id", "instruction_id"), on="pair_id", how="left", maintain_order="left"
    )
    split = assign_split(labelled, validation_share=validation_share, seed=seed)
    balanced = balance_labels(split, seed=seed)
    texts = _texts(balanced.filter(pl.col("drop_reason").is_null()), facts, templates, ties)
    ids = pl.Series("example_id", row_ids("example", balanced["judgment_id"]), dtype=pl.String)
    return (
        balanced.with_columns(ids)
        .join(texts, on="judgment_id", how="left", maintain_order="left")
        .select(EXAMPLE_COLUMNS)
    )


def training_set_digest(examples: pl.DataFrame) -> str:
    """Digest of what is trained on: texts and split of the kept rows, in their order."""
    kept = examples.filter(pl.col("drop_reason").is_null())
    return frame_digest((name, python_values(kept[name])) for name in ("messages", "completion", "split"))


def pair_facts(judgments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """What an example needs to know of the pairs: pair_id, instruction_id, instruction, chosen, rejected.

    Raises:
        ValueError: a judgment's pair is not in `pairs`.
    """
    facts = pairs.select("pair_id", "instruction_id", "instruction", "chosen", "rejected")
    unknown = judgments.join(facts, on="pair_id", how="anti")
    if unknown.height:
        first = unknown["pair_id"][0]
        raise ValueError(f"{unknown.height} judgments belong to no pair of this iteration, the first one to {first!r}.")
    return facts


def _texts(kept: pl.DataFrame, facts: pl.DataFrame, templates: PromptTemplates, ties: bool) -> pl.DataFrame:
    rows = kept.join(facts.drop("instruction_id"), on="pair_id", how="left", maintain_order="left")
    messages = []
    for position, instruction, chosen, rejected in rows.select(
        "chosen_position", "instruction", "chosen", "rejected"
    ).iter_rows():
        response_a, response_b = (chosen, rejected) if position == "A" else (rejected, chosen)
        messages.append(judge_messages(templates, instruction, response_a, response_b, ties=ties))
    return rows.select(
        "judgment_id", pl.Series("messages", messages, dtype=MESSAGES), pl.col("judgment").alias("completion")
    )
