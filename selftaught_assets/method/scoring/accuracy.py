"""Verdicts on labelled pairs: how they came about, how many are right, and how sure that share is.

A table of verdicts has one row for each pair and order: benchmark, subset, item_id, instruction_id, order (AB, or BA
for swapped), label (the right verdict in this order: A, B or TIE) and verdict (A, B, TIE, or null for invalid). An
invalid verdict is not right, and is counted as invalid. Where the responses were rated one by one (`single`), a pair
has one row, of the order `none`, which holds for both.

A judge's bias for a position must not pass for skill: both orders count alike in an accuracy, and `combined_verdicts`
and `pooled_verdicts` make one verdict of the two, in the order in which the benchmark gives the responses.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import polars as pl

from selftaught_assets.method.judging import NO_ORDER, ORDERS, as_given
from selftaught_assets.method.scoring.statistics import (
    Interval,
    bootstrap_interval,
    mcnemar_exact,
    ratio,
    sign_flip_exact,
    wilson_interval,
)
from selftaught_assets.method.verdicts import VerdictFormat, parse_verdicts
from selftaught_assets.method.votes import count_votes, leader

Decoding = Literal["greedy", "vote"]
"""How a verdict came about: from one greedy judgment, or by the majority of several sampled ones."""

TOO_LONG = "prompt_too_long"
_TELLING = (TOO_LONG, "length", "stop")
"""Finish reasons, the one that says most about a verdict first."""

VERDICT_COLUMNS = (
    *("benchmark", "subset", "item_id", "group_id", "instruction_id", "variant", "order", "decoding", "judge", "label"),
    *("votes_a", "votes_b", "votes_tie", "votes_invalid", "finish_reason", "verdict", "score"),
)

ELICITED_COLUMNS = ("votes_elicited", "verdict_without_elicited")
"""Of verdicts some of which may have been elicited."""

_KEY = ["benchmark", "item_id", "order"]
_PAIR = ["benchmark", "subset", "item_id", "instruction_id"]
_HAS_ORDER = pl.col("order") != NO_ORDER
_AS_GIVEN = pl.col("order") != "BA"

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
    """Accuracy where the better response stands second."""
    invalid: float
    """Share of verdicts that could not be read."""


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
        completions: request_id, sample_index, text, finish_reason; elicited where verdicts are.
        decoding: of these completions.
        judge: digest of the judge's weights.
        form: in which the prompt asks for the verdict.
        ties: whether it offers a tie.

    Returns:
        `VERDICT_COLUMNS`, one row for each request, in their order; `label` is the right verdict in this order. And
        `ELICITED_COLUMNS` where the completions have elicited.
    """
    read, by = completions.with_columns(parse_verdicts(completions["text"], form, ties=ties)), ["request_id"]
    tables, columns = [count_votes(read, by), finish_reasons(completions, by)], VERDICT_COLUMNS
    if "elicited" in completions.columns:
        unaided = count_votes(read.with_columns(verdict=pl.when(~pl.col("elicited")).then("verdict")), by)
        tables.append(unaided.select(*by, verdict_without_elicited="verdict"))
        tables.append(read.group_by(by).agg(votes_elicited=pl.col("elicited").sum().cast(pl.Int64)))
        columns += ELICITED_COLUMNS
    verdicts = requests
    for table in tables:
        verdicts = verdicts.join(table, on="request_id", how="left", maintain_order="left", validate="1:1")
    named = verdicts.with_columns(decoding=pl.lit(decoding), judge=pl.lit(judge))
    return with_score(named).select(columns)


def finish_reasons(completions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Why the judgments of each verdict ended.

    It is `prompt_too_long` if the judge could not be asked, `length` if one of them was cut off, else `stop`.

    Args:
        completions: the columns `by`, and finish_reason.
        by: columns that tell the verdicts apart.

    Returns:
        `by` and finish_reason, one row for each verdict.
    """
    told = completions.group_by(by).agg(pl.col("finish_reason").cast(pl.Enum(_TELLING)).min())
    return told.with_columns(pl.col("finish_reason").cast(pl.String))


def with_score(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Adds `score`: 1.0 where the verdict is right, else 0.0; an invalid verdict is not half right."""
    return verdicts.with_columns(IS_RIGHT.cast(pl.Float64).alias("score"))


def score(verdicts: pl.DataFrame) -> Scores:
    """Scores a table of verdicts (paper section 4: accuracy on preference pairs).

    Args:
        verdicts: benchmark, item_id, instruction_id, order, label, verdict; of one judge and one decoding.

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

    Args:
        before: verdicts of the one judge, as in `score`.
        after: those of the other.

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
    """Sums over each instruction, in a fixed order: the form that `statistics.bootstrap_interval` takes."""
    return verdicts.group_by("instruction_id").agg(**counts).sort("instruction_id")


def counts_within(column: str, names: Iterable[str], **points: pl.Expr) -> dict[str, pl.Expr]:
    """For `count_by_instruction`: sums over the rows of each part of a benchmark.

    Args:
        column: tells the parts apart.
        names: of the parts.
        points: to be summed, by name, for instance `right=IS_RIGHT`.

    Returns:
        For each part, the sums of its points as `<point> <part>`, and the number of its rows as `n <part>`.
    """
    counts: dict[str, pl.Expr] = {}
    for name in names:
        here = pl.col(column) == name
        counts |= {f"{point} {name}": value.filter(here).sum() for point, value in points.items()}
        counts[f"n {name}"] = here.sum()
    return counts


def single_sample_accuracy(votes: pl.DataFrame) -> float:
    """Share of right votes among all votes, invalid ones included: what one sample would score on average.

    Args:
        votes: votes_a, votes_b, votes_tie, votes_invalid, label.

    Raises:
        ValueError: there are no votes.
    """
    right = (
        pl.when(pl.col("label") == "A")
        .then("votes_a")
        .when(pl.col("label") == "B")
        .then("votes_b")
        .otherwise("votes_tie")
    )
    count = pl.sum_horizontal("votes_a", "votes_b", "votes_tie", "votes_invalid")
    right_votes, all_votes = votes.select(right.sum().alias("right"), count.sum().alias("count")).row(0)
    if not all_votes:
        raise ValueError("There is no vote to score.")
    return right_votes / all_votes


def pooled_verdicts(votes: pl.DataFrame) -> pl.DataFrame:
    """The majority of the votes of both orders together.

    Args:
        votes: benchmark, subset, item_id, instruction_id, order, label, votes_a, votes_b, votes_tie; both orders.

    Returns:
        benchmark, subset, item_id, instruction_id, label, votes_a, votes_b, votes_tie, verdict. The verdict is null
        where they are drawn (`votes.leader`).
    """
    in_place = {
        "votes_a": pl.when(_AS_GIVEN).then("votes_a").otherwise("votes_b").sum(),
        "votes_b": pl.when(_AS_GIVEN).then("votes_b").otherwise("votes_a").sum(),
        "votes_tie": pl.col("votes_tie").sum(),
    }
    return _by_pair(votes, **in_place).with_columns(verdict=leader(both_orders=True))


def combined_verdicts(verdicts: pl.DataFrame) -> pl.DataFrame:
    """One verdict from those in both orders: a response wins only if it wins in both (MT-Bench, section 3.4).

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict; both orders.

    Returns:
        benchmark, subset, item_id, instruction_id, label, verdict_ab, verdict_ba (both as the benchmark gives the
        responses), verdict: the one that both say, TIE where they differ, null where one of them is invalid.
    """
    said = as_given("verdict")
    both = _by_pair(
        verdicts,
        verdict_ab=said.filter(_AS_GIVEN).first(),
        verdict_ba=said.filter(pl.col("order") != "AB").first(),
    )
    first, second = pl.col("verdict_ab"), pl.col("verdict_ba")
    return both.with_columns(
        verdict=pl.when(first == second)
        .then(first)
        .when(first.is_not_null() & second.is_not_null())
        .then(pl.lit("TIE"))
        .otherwise(None)
    )


def _require_both_orders(verdicts: pl.DataFrame) -> None:
    if verdicts.is_empty():
        raise ValueError("There is no verdict to score.")
    pairs = verdicts.group_by("benchmark", "item_id").agg(
        pl.col("order").sort().str.join(" ").alias("orders"), as_given("label").n_unique().alias("labels")
    )
    odd = pairs.filter(~pl.col("orders").is_in([" ".join(ORDERS), NO_ORDER]) | (pl.col("labels") != 1)).sort("item_id")
    if odd.height:
        first = odd["item_id"][0]
        raise ValueError(f"{odd.height} pairs are not judged once in each order, the first one is {first!r}.")


def _by_pair(frame: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    label = pl.col("label").filter(_AS_GIVEN).first()
    return frame.group_by(_PAIR, maintain_order=True).agg(label.alias("label"), **columns)
