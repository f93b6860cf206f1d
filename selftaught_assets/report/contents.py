"""What a report shows, as plain values: the contract between reading, charts and page.

Belongs here: the shapes. Not here: where the values come from (`reading`, `figures`; assets/recorded.py) and how they
look (`charts`, `page`).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from selftaught_assets.method.costs import Account
from selftaught_assets.method.results import ResultRow
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
    """How often an attack turned a right verdict of one judge."""

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
    """How far people agree with the labels (review/agreement.py)."""

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
    """All that a report shows, but for the rows."""

    results: dict[str, list[ResultRow]]
    """By benchmark, seed first."""
    no_results: str | None
    """Why a benchmark has no results, as a sentence."""
    iterations: list[Iteration]
    recorded: Recorded
    reviews: list[Reviewed]
