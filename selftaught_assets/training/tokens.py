"""The filtered set as token ids and labels.

Belongs here: which tokens are trained on. Not here: how a conversation becomes tokens (engines/chat.py).
"""

from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from selftaught_assets.engines.chat import training_example
from selftaught_assets.engines.protocol import TEMPLATE_DATE
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_LOSS = -100
"""The label of a token that carries no loss."""

Row = dict[str, list[int]]
"""`input_ids` and `labels`, of equal length: the instruction's tokens, then the judgment's and the end of the turn."""


class TokenisedSet(NamedTuple):
    """The training and the validation split."""

    train: list[Row]
    validation: list[Row]
    too_long: int
    """Examples left out of both."""


def tokenised_set(
    tokenizer: "PreTrainedTokenizerBase", examples: Path, max_tokens: int, date: Date = TEMPLATE_DATE
) -> TokenisedSet:
    """Renders the kept rows of a filtered set as the judge is sampled; only the judgment's tokens have labels.

    Raises:
        UserError: no example is left to train on.
    """
    kept = pl.read_parquet(examples, glob=False).filter(pl.col("drop_reason").is_null())
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    too_long = 0
    for messages, completion, split in kept.select("messages", "completion", "split").iter_rows():
        prompt_ids, completion_ids = training_example(tokenizer, messages, completion, date)
        if len(prompt_ids) + len(completion_ids) > max_tokens:
            too_long += 1
        else:
            labels = [NO_LOSS] * len(prompt_ids) + completion_ids
            splits[split].append({"input_ids": prompt_ids + completion_ids, "labels": labels})
    if not splits["train"]:
        raise UserError(
            f"{examples} has nothing to train on: of {kept.height} examples {too_long} exceed {max_tokens} tokens and "
            f"{len(splits['validation'])} are held out; sample more judgments or raise training.max_tokens."
        )
    return TokenisedSet(splits["train"], splits["validation"], too_long)
