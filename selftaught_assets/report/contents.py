"""The contents of a report: plain values, and wording for readers who have not read the documents."""

from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from selftaught_assets.method.costs import Account
from selftaught_assets.method.scoring.results import ResultRow
from selftaught_assets.storage.checkpoints import Manifest


class Step(NamedTuple):
    """One step of the way from the pool to the trained examples."""

    name: str
    rows: int
    """That are left after it."""
    lost: dict[str, int]
    """Rows that it dropped, by reason."""


class Side(NamedTuple):
    """First judgments of pairs whose chosen response stood in one position."""

    chosen_position: str
    n: int
    right: int
    low: float
    high: float
    """Wilson's 95 % interval of the share of right ones."""


class Language(NamedTuple):
    """Length and diversity of judgments."""

    tokens: dict[str, int]
    """median, p90 and longest of a judgment, in tokens."""
    truncated: int
    """Judgments cut off by the token limit."""
    sample: int
    """Kept judgments, drawn at random, of which the following is said."""
    distinct_1: float
    """Different words as a share of all words."""
    distinct_2: float
    """The same of pairs of neighbouring words."""
    repeated: float
    """Judgments whose text, but for case and white space, occurs twice or more."""


class CheckOutcome(NamedTuple):
    """The latest evaluation of an asset check on one partition."""

    asset: str
    name: str
    outcome: str
    """passed, WARN or ERROR."""
    sentence: str
    time: str
    """ISO 8601, UTC."""


class StageRecord(NamedTuple):
    """The newest materialization of an asset of an iteration."""

    asset: str
    seconds: float | None
    account: Account


class Attack(NamedTuple):
    """How often an attack overturned a right verdict of one judge."""

    judge: str
    name: str
    success: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Recorded:
    """What Dagster's event log says; all empty where it knows nothing."""

    checks: dict[str | None, list[CheckOutcome]] = field(default_factory=dict)
    """By iteration; None for assets that belong to none."""
    stages: dict[str | None, list[StageRecord]] = field(default_factory=dict)
    attacks: list[Attack] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not any(self.stages.values())


@dataclass(frozen=True)
class Iteration:
    """One iteration, as far as its tables exist."""

    key: str
    funnel: list[Step]
    judged: list[Step]
    """The same for judgments: sampled, kept."""
    passes: pl.DataFrame | None = None
    """label, pairs: how the pairs fared; what the label says depends on the recipe's `judgments.stop`."""
    sides: list[Side] = field(default_factory=list)
    elicited: float | None = None
    """Share of the judgments whose verdict was elicited; None where the recipe elicits none."""
    labels: pl.DataFrame | None = None
    """split, label, examples."""
    lengths: pl.DataFrame | None = None
    """tokens (lower end of a bin), width, outcome (right or wrong), judgments."""
    language: Language | None = None
    judge_digest: str | None = None
    """Of the weights that wrote its judgments."""
    manifest: Manifest | None = None
    """Of the newest finished checkpoint."""
    checkpoint: str | None = None
    """Its folder."""


class Reviewed(NamedTuple):
    """How often people agree with the labels (review/answers.py)."""

    kind: str
    iteration: str
    n: int
    """Answers that are sure."""
    agreed: int
    share: float | None
    """None where no answer is sure, as both ends of its interval then are."""
    low: float | None
    high: float | None
    unsure: int


@dataclass(frozen=True)
class Contents:
    """Everything that a report shows except the rows."""

    results: dict[str, list[ResultRow]]
    """By benchmark, seed first."""
    no_results: str | None
    """Why a benchmark has no results, as a sentence."""
    iterations: list[Iteration]
    recorded: Recorded
    reviews: list[Reviewed]


REASONS = {
    # instructions
    "not_selected": "not drawn for this iteration",
    "too_long": "longer than the recipe allows",
    "other_category": "in a category that the recipe leaves out",
    "empty": "no text",
    "duplicate": "says the same as an earlier line",
    # pairs
    "failed": "the engine gave up on it",
    "prompt_too_long": "the prompt does not fit into the model's context",
    "chosen_empty": "no response to the instruction",
    "modified_instruction_missing": "no modified instruction was written",
    "modified_instruction_unchanged": "the modified instruction asks the same",
    "rejected_empty": "no response to the modified instruction",
    "responses_equal": "both responses are the same, so neither is worse",
    "template_leftover": "a response contains a piece of a prompt template",
    # judgments
    "no_right_judgment": "no sampled judgment found the better response",
    "invalid_verdict": "no verdict, or two different ones",
    "invalid_rating": "no rating, or two different ones",
    "tie_verdict": "says that both responses are equally good",
    "wrong_verdict": "prefers the worse response",
    "wrong_rating": "rates its response on the wrong side of the other",
    "pair_not_ordered": "no two ratings of the pair put the better response first",
    "truncated": "cut off by the token limit",
    "not_drawn": "right, but another right judgment of the pair was drawn",
    "balance": "right, but left out so that A and B win equally often",
    # training
    "held_out": "held out of training, for the validation loss",
    "beyond_max_tokens": "longer than the training's token limit",
}
"""By drop reason."""

STAGES = {
    "instructions": "select instructions",
    "pairs": "write preference pairs",
    "judge": "fetch the judge",
    "judgments": "sample judgments",
    "filtered_set": "keep right judgments",
    "checkpoint": "train the next judge",
    "evaluation": "measure it",
    "instruction_pool": "read the pool",
    "seed_model": "fetch the seed model",
    "benchmarks": "read the benchmarks",
    "seed_evaluation": "measure the seed model",
}
"""By asset."""

ATTACKS = {
    "verdict": "it ends with a verdict for itself",
    "plea": "it asks to be judged the better one",
    "authority": "it claims that the other one has been found to be wrong",
    "end_of_block": "it pretends that the responses end and the verdict follows",
    "end_of_turn": "it pretends that the judge has already decided",
    "rival": "it replaces the other response with a bad one",
}
"""What the worse response does, by the attack's name in the recipe."""


def short(judge: str) -> str:
    """`iteration_03` as "iteration 3"; other names as they are."""
    name, _, number = judge.partition("_")
    return f"{name} {int(number)}" if name == "iteration" and number.isdigit() else judge
