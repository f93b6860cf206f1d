"""Two judges on one benchmark: how far apart, how sure, where, and on which pairs; and whether the newer one may judge.

The promotion of a checkpoint is ours: in the paper every checkpoint judges.
"""

from enum import StrEnum
from typing import Literal, NamedTuple, TypedDict

import polars as pl

from selftaught_assets.method.benchmarks import published_changes
from selftaught_assets.method.scoring.accuracy import Comparison, compare, paired, score
from selftaught_assets.method.scoring.results import as_row, greedy_of

Rule = Literal["always", "not_worse", "better"]
"""Which checkpoints may judge: all; those that are not significantly worse than the current judge; those that are
significantly better."""

SIGNIFICANT = 0.05
"""Below this p-value over instructions one judge is called better."""


class Outcome(StrEnum):
    """The decision about a checkpoint."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    """The rule does not let it judge."""
    FLAT = "flat"
    """The rule would let it judge, but too many iterations have brought no gain: the loop ends."""


class Decision(NamedTuple):
    """The decision about a checkpoint, with the reason."""

    outcome: Outcome
    comparison: Comparison
    """From the current judge to the checkpoint."""
    flat: int
    """Successive iterations without a significant gain, up to this one; 0 if this one gained."""


class JudgeRow(TypedDict):
    """One of the two judges, greedy verdicts; shares in [0, 1]."""

    accuracy: float
    interval: list[float]
    interval_clustered: list[float]
    accuracy_invalid_half: float
    position_consistent: float
    invalid: float


class Difference(TypedDict):
    """The second judge minus the first, with both tests."""

    difference: float
    interval: list[float]
    n: int
    gained: int
    lost: int
    p_mcnemar: float
    p_clustered: float


class Compared(TypedDict):
    """`before` and `after` on the same pairs."""

    items: int
    instructions: int
    before: JudgeRow
    after: JudgeRow
    overall: Difference
    published: dict[str, dict[str, float | list[float]]]
    """By name: before, after, difference and its interval (bootstrap over instructions)."""
    subsets: dict[str, Difference]
    """Those that differ most first."""
    items_won: list[str]
    """Pairs with more right verdicts than before, over both orders; their item_id."""
    items_lost: list[str]


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
        in_office: greedy verdicts of the judge that trained the checkpoint: a table as in `accuracy`.
        checkpoint: those of the checkpoint.
        rule: of the promotion.
        alpha: a difference is significant if its p-value is smaller.
        stop_when_flat: after this many successive iterations without a significant gain, the loop ends; None: never.
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


def compare_judges(before: pl.DataFrame, after: pl.DataFrame, form: str = "pairs") -> Compared:
    """Compares two judges' verdicts on the same benchmark.

    Args:
        before: verdicts of the one judge on one benchmark; only greedy ones are used.
        after: verdicts of the other.
        form: of the benchmark.

    Raises:
        ValueError: the two were not measured on the same pairs.
    """
    before, after = greedy_of(before), greedy_of(after)
    rows = paired(before, after)
    moved = rows.group_by("item_id").agg(by=pl.col("right_after").sum().cast(int) - pl.col("right").sum().cast(int))
    overall = compare(before, after)
    subsets = {
        name: _difference(compare(*(table.filter(pl.col("subset") == name) for table in (before, after))))
        for name in sorted(rows["subset"].unique())
    }
    return {
        "items": moved.height,
        "instructions": overall.instructions,
        "before": as_row(score(before), JudgeRow),
        "after": as_row(score(after), JudgeRow),
        "overall": _difference(overall),
        "published": {
            name: {**change._asdict(), "interval": list(change.interval)}
            for name, change in published_changes(form, before, after).items()
        },
        "subsets": dict(sorted(subsets.items(), key=lambda entry: -abs(entry[1]["difference"]))),
        "items_won": moved.filter(pl.col("by") > 0)["item_id"].sort().to_list(),
        "items_lost": moved.filter(pl.col("by") < 0)["item_id"].sort().to_list(),
    }


def sentence(before: str, after: str, test: Difference) -> str:
    """One sentence about two judges; it calls one better only if the paired test shows it.

    Args:
        before: name of the one judge.
        after: name of the other.
        test: the second minus the first.
    """
    points, (low, high) = 100 * test["difference"], (100 * end for end in test["interval"])
    evidence = (
        f"{points:+.1f} points (95 % {low:+.1f} to {high:+.1f}), p {p_text(test['p_clustered'])} over instructions, "
        f"p {p_text(test['p_mcnemar'])} by McNemar's test"
    )
    if test["p_clustered"] >= SIGNIFICANT or not points:
        return f"No difference is shown between {after} and {before}: {evidence}."
    better, worse = (after, before) if points > 0 else (before, after)
    return f"{better} is better than {worse}: {after} minus {before} is {evidence}."


def p_text(p_value: float) -> str:
    """A p-value with its sign of comparison, never as 0."""
    if p_value < 1e-300:
        return "< 1e-300"
    return f"= {p_value:.3g}" if p_value >= 0.001 else f"= {p_value:.0e}"


def _difference(test: Comparison) -> Difference:
    return {
        "difference": test.difference,
        "interval": list(test.interval),
        "n": test.n,
        "gained": test.gained,
        "lost": test.lost,
        "p_mcnemar": test.p_value,
        "p_clustered": test.p_clustered,
    }
