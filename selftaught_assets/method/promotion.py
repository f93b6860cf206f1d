"""Whether a trained checkpoint may become the next judge.

Belongs here: the rule, from verdicts to a decision. Not here: making the verdicts (`judging`), the test itself
(`scores`), and what follows from a decision (assets). The paper has no such gate: every checkpoint judges.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

import polars as pl

from selftaught_assets.method.scores import Comparison, compare

Rule = Literal["always", "not_worse", "better"]
"""Which checkpoints may judge: all; those that are not significantly worse than the judge in office; those that are
significantly better."""


class Outcome(StrEnum):
    """What becomes of a checkpoint."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    """The rule does not let it judge."""
    FLAT = "flat"
    """The rule would let it judge, but too many iterations have brought no gain: the loop ends."""


class Decision(NamedTuple):
    """What becomes of a checkpoint, and why."""

    outcome: Outcome
    comparison: Comparison
    """From the judge in office to the checkpoint."""
    flat: int
    """Successive iterations without a significant gain, up to this one; 0 if this one gained."""


def decide(
    in_office: pl.DataFrame,
    checkpoint: pl.DataFrame,
    *,
    rule: Rule,
    alpha: float,
    stop_when_flat: int | None = None,
    flat_before: int = 0,
) -> Decision:
    """Decides by the exact sign-flip test over instructions, on the same items in the same orders.

    The two verdicts on a pair stand and fall together, so a test that counts them as two, such as McNemar's, finds
    differences where there are none two or three times as often as `alpha` says.

    Args:
        in_office: greedy verdicts of the judge that trained the checkpoint: a table as in `scores`.
        checkpoint: those of the checkpoint.
        rule: of the promotion.
        alpha: a difference is significant if its p-value is smaller.
        stop_when_flat: so many successive iterations without a significant gain end the loop; None: never.
        flat_before: how many there were before this one.

    Raises:
        ValueError: the two tables do not hold the same items.
    """
    comparison = compare(in_office, checkpoint)
    significant = comparison.p_clustered < alpha
    gain = significant and comparison.gained > comparison.lost
    loss = significant and comparison.lost > comparison.gained
    refused = {"always": False, "not_worse": loss, "better": not gain}[rule]
    flat = 0 if gain else flat_before + 1
    ends = stop_when_flat is not None and flat >= stop_when_flat
    outcome = Outcome.REFUSED if refused else Outcome.FLAT if ends else Outcome.PROMOTED
    return Decision(outcome, comparison, flat)
