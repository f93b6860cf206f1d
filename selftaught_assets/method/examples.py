"""The filtered set: from judgments to training examples.

Belongs here: the order of the steps and the text of an example. Not here: the steps (`rejection`, `splits`, `balance`).
"""

from typing import Literal

import polars as pl

from selftaught_assets.method.balance import balance_labels
from selftaught_assets.method.identity import frame_digest, row_ids
from selftaught_assets.method.judging import JUDGMENT_COLUMNS
from selftaught_assets.method.prompts import PromptTemplates, judge_messages
from selftaught_assets.method.rejection import select_examples
from selftaught_assets.method.splits import assign_split

COLUMNS = (
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
        `COLUMNS`; `messages` (a list of role and content) and `completion` are null in dropped rows, whose texts are in
        the tables of pairs and judgments.

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
    return balanced.with_columns(ids).join(texts, on="judgment_id", how="left", maintain_order="left").select(COLUMNS)


def training_set_digest(examples: pl.DataFrame) -> str:
    """Digest of what is trained on: texts and split of the kept rows, in their order."""
    kept = examples.filter(pl.col("drop_reason").is_null())
    return frame_digest((name, kept[name].to_list()) for name in ("messages", "completion", "split"))


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
