"""The table of a judge's verdicts on benchmark pairs.

Belongs here: from completions to one verdict per pair, order and decoding. Not here: accuracies and tests (`scores`).
"""

from collections.abc import Sequence
from typing import Literal

import polars as pl

from selftaught_assets.method.scores import with_score
from selftaught_assets.method.verdicts import VerdictFormat, parse_verdicts
from selftaught_assets.method.votes import count_votes

Decoding = Literal["greedy", "vote"]
"""How a verdict came about: from one greedy judgment, or by the majority of several sampled ones."""

TOO_LONG = "prompt_too_long"
_TELLING = (TOO_LONG, "length", "stop")
"""Finish reasons, the one that says most about a verdict first."""

COLUMNS = (
    "benchmark",
    "subset",
    "item_id",
    "group_id",
    "instruction_id",
    "variant",
    "order",
    "decoding",
    "judge",
    "label",
    "votes_a",
    "votes_b",
    "votes_tie",
    "votes_invalid",
    "finish_reason",
    "verdict",
    "score",
)


def verdict_table(
    requests: pl.DataFrame,
    completions: pl.DataFrame,
    *,
    decoding: Decoding,
    judge: str,
    form: VerdictFormat = "brackets",
    ties: bool = False,
) -> pl.DataFrame:
    """One verdict for each request: the majority of its completions (paper section 3, inference).

    Args:
        requests: from `judging.benchmark_requests`.
        completions: request_id, sample_index, text, finish_reason.
        decoding: of these completions.
        judge: digest of the judge's weights.
        form: in which the prompt asks for the verdict.
        ties: whether it offers a tie.

    Returns:
        `COLUMNS`, one row for each request, in their order; `label` is the right verdict in this order.
    """
    read = completions.with_columns(parse_verdicts(completions["text"], form, ties=ties))
    verdicts = requests
    for table in (count_votes(read, by=["request_id"]), finish_reasons(completions, by=["request_id"])):
        verdicts = verdicts.join(table, on="request_id", how="left", maintain_order="left", validate="1:1")
    named = verdicts.with_columns(decoding=pl.lit(decoding), judge=pl.lit(judge))
    return with_score(named).select(COLUMNS)


def finish_reasons(completions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Why the judgments of a verdict ended: `prompt_too_long` if the judge could not be asked, `length` if one of them
    was cut off, else `stop`.

    Args:
        completions: the columns `by`, and finish_reason.
        by: columns that tell the verdicts apart.

    Returns:
        `by` and finish_reason, one row for each verdict.
    """
    told = completions.group_by(by).agg(pl.col("finish_reason").cast(pl.Enum(_TELLING)).min())
    return told.with_columns(pl.col("finish_reason").cast(pl.String))
