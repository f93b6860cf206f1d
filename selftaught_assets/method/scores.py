"""How good a judge is on labelled pairs, with the uncertainty of the figure.

Belongs here: accuracies and paired comparisons that hold for every benchmark. Not here: making the verdicts (`judging`,
`votes`), how a published benchmark adds its subsets up (`published`), the statistics (`intervals`, `significance`).

A table of verdicts has the columns benchmark, item_id, instruction_id, order (AB, or BA for swapped), label (the right
verdict in this order: A, B or TIE) and verdict (A, B, TIE, or null for invalid), one row for each pair and order. An
invalid verdict is not right, and is counted as invalid. Where the responses were rated one by one
(`single_evaluation`), each pair has one row, of the order `none`.
"""

from typing import NamedTuple

import polars as pl

from selftaught_assets.method.intervals import Interval, bootstrap_interval, ratio, wilson_interval
from selftaught_assets.method.judging import NO_ORDER, ORDERS
from selftaught_assets.method.significance import mcnemar_exact, sign_flip_exact

_KEY = ["benchmark", "item_id", "order"]
_HAS_ORDER = pl.col("order") != NO_ORDER

IS_RIGHT = (pl.col("verdict") == pl.col("label")).fill_null(False)
"""Whether a verdict is the right one; an invalid one never is."""

RIGHT_OR_HALF = (
    pl.when(IS_RIGHT)
    .then(1.0)
    .when(pl.col("verdict").is_null() | ((pl.col("verdict") == "TIE") & (pl.col("label") != "TIE")))
    .then(0.5)
    .otherwise(0.0)
)
"""The point of a verdict as reward-bench's code gives it: whatever names neither response is half right."""


class Scores(NamedTuple):
    """One judge on one set of pairs, each judged in both orders. Shares lie in [0, 1]; None is a share of none."""

    n: int
    """Verdicts counted: pairs × 2 orders, or pairs where there is no order."""
    items: int
    instructions: int
    right: int
    accuracy: float
    """Over both orders: each counts one half of the pair. Invalid verdicts count as wrong."""
    interval: Interval
    """Wilson, 95 %, of `accuracy` over n verdicts. It takes them as independent, which the two on a pair are not."""
    interval_clustered: Interval
    """Bootstrap over instructions, 95 %, of `accuracy`."""
    accuracy_invalid_half: float
    """`accuracy` by the rule of reward-bench: invalid verdicts, and a tie where there is a winner, count one half."""
    position_consistent: float
    """Share of pairs judged right in both orders."""
    winner_first: float | None
    """Accuracy where the better response stands first (the right verdict is A). None where there is no order."""
    loser_first: float | None
    invalid: float


class Comparison(NamedTuple):
    """Two judges on the same items. Both p-values are exact and two-sided."""

    n: int
    instructions: int
    gained: int
    """Verdicts that were wrong before and are right after."""
    lost: int
    """Verdicts that were right before and are wrong after."""
    difference: float
    """Accuracy after minus accuracy before."""
    interval: Interval
    """Bootstrap over instructions, 95 %, of `difference`."""
    p_value: float
    """McNemar's test. It takes verdicts as independent."""
    p_clustered: float
    """Sign-flip test over instructions: the two orders of a pair, and pairs of one instruction, stay together."""


def with_score(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Adds `score`: 1.0 where the verdict is right, else 0.0; an invalid verdict is not half right."""
    return verdicts.with_columns(IS_RIGHT.cast(pl.Float64).alias("score"))


def score(verdicts: pl.DataFrame) -> Scores:
    """Scores a table of verdicts (paper section 4: accuracy on preference pairs).

    Raises:
        ValueError: the table is empty, or a pair is not judged exactly once in each order, or once without one.
    """
    _require_both_orders(verdicts)
    pairs = verdicts.group_by("benchmark", "item_id").agg(IS_RIGHT.all().alias("consistent"))
    shares = verdicts.select(
        IS_RIGHT.sum().alias("right"),
        IS_RIGHT.filter(_HAS_ORDER & (pl.col("label") == "A")).mean().alias("winner_first"),
        IS_RIGHT.filter(_HAS_ORDER & (pl.col("label") == "B")).mean().alias("loser_first"),
        RIGHT_OR_HALF.mean().alias("accuracy_invalid_half"),
        pl.col("verdict").is_null().mean().alias("invalid"),
    ).row(0, named=True)
    counts = count_by_instruction(verdicts, right=IS_RIGHT.sum(), n=pl.len())
    n = verdicts.height
    return Scores(
        n=n,
        items=pairs.height,
        instructions=counts.height,
        accuracy=shares["right"] / n,
        interval=wilson_interval(shares["right"], n),
        interval_clustered=bootstrap_interval(counts, ratio("right", "n")),
        position_consistent=pairs["consistent"].mean(),
        **shares,
    )


def score_subsets(verdicts: pl.DataFrame) -> dict[str, Scores]:
    """`score` of every subset, by name in alphabetical order."""
    return {str(name): score(part) for (name,), part in sorted(verdicts.group_by("subset"))}


def compare(before: pl.DataFrame, after: pl.DataFrame) -> Comparison:
    """Tests whether two judges differ, on the same items in the same orders.

    Raises:
        ValueError: the two tables do not hold the same items, so that the test would not be paired.
    """
    both = paired(before, after)
    counts = count_by_instruction(both, before=pl.col("right").sum(), after=pl.col("right_after").sum(), n=pl.len())
    gained = both.filter(~pl.col("right") & pl.col("right_after")).height
    lost = both.filter(pl.col("right") & ~pl.col("right_after")).height
    return Comparison(
        n=both.height,
        instructions=counts.height,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / both.height,
        interval=bootstrap_interval(counts, lambda totals: (totals["after"] - totals["before"]) / totals["n"]),
        p_value=mcnemar_exact(gained, lost),
        p_clustered=sign_flip_exact(counts.select(pl.col("after").cast(int) - pl.col("before").cast(int)).to_series()),
    )


def paired(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """The rows of `before` with `right` and `right_after`, which say whether either judge's verdict is right.

    Raises:
        ValueError: the tables are empty, or do not hold the same items with the same labels.
    """
    same = [*_KEY, "label"]
    sides = [frame.sort(_KEY) for frame in (before, after)]
    if before.is_empty() or not sides[0].select(same).equals(sides[1].select(same)):
        raise ValueError(
            f"The two judges were not measured on the same items ({before.height} and {after.height} verdicts): "
            "evaluate both on the same benchmarks."
        )
    right_after = sides[1].select(IS_RIGHT.alias("right_after")).to_series()
    return sides[0].with_columns(IS_RIGHT.alias("right"), right_after)


def count_by_instruction(verdicts: pl.DataFrame, **counts: pl.Expr) -> pl.DataFrame:
    """Sums over each instruction, in a fixed order: the form that `intervals.bootstrap_interval` takes."""
    return verdicts.group_by("instruction_id").agg(**counts).sort("instruction_id")


def _require_both_orders(verdicts: pl.DataFrame) -> None:
    if verdicts.is_empty():
        raise ValueError("There is no verdict to score.")
    swapped = pl.col("label").replace({"A": "B", "B": "A"})
    as_given = pl.when(pl.col("order") == "AB").then("label").otherwise(swapped)
    pairs = verdicts.group_by("benchmark", "item_id").agg(
        pl.col("order").sort().str.join(" ").alias("orders"), as_given.n_unique().alias("labels")
    )
    odd = pairs.filter(~pl.col("orders").is_in([" ".join(ORDERS), NO_ORDER]) | (pl.col("labels") != 1)).sort("item_id")
    if odd.height:
        first = odd["item_id"][0]
        raise ValueError(f"{odd.height} pairs are not judged once in each order, the first one is {first!r}.")
