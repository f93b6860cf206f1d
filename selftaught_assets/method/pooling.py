"""The two orders of a pair put together, so that a judge's bias for a position cancels.

Belongs here: votes over both orders, and one verdict from the verdicts in both. Not here: the majority within one order
(`votes`), and what the benchmarks make of it.

Both give one row for each pair, its label and verdict in the order in which the benchmark gives the responses.
"""

import polars as pl

_PAIR = ["benchmark", "subset", "item_id", "instruction_id"]
_AS_GIVEN = pl.col("order") != "BA"
"""In this order as in none (`single_evaluation`), where a pair has one verdict, which holds for both orders."""


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
        where two leaders have equally many votes: neither order comes first, so nothing would decide but chance.
    """
    in_place = {
        "votes_a": pl.when(_AS_GIVEN).then("votes_a").otherwise("votes_b").sum(),
        "votes_b": pl.when(_AS_GIVEN).then("votes_b").otherwise("votes_a").sum(),
        "votes_tie": pl.col("votes_tie").sum(),
    }
    counted = _by_pair(votes, **in_place)
    leads = {
        verdict: pl.all_horizontal(pl.col(name) > pl.col(other) for other in in_place if other != name)
        for verdict, name in (("A", "votes_a"), ("B", "votes_b"), ("TIE", "votes_tie"))
    }
    return counted.with_columns(verdict=_first_true(leads))


def combined_verdicts(verdicts: pl.DataFrame) -> pl.DataFrame:
    """One verdict from those in both orders: a response wins only if it wins in both (MT-Bench, section 3.4).

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict; both orders.

    Returns:
        benchmark, subset, item_id, instruction_id, label, verdict_ab, verdict_ba (both as the benchmark gives the
        responses), verdict: the one that both say, TIE where they differ, null where one of them is invalid.
    """
    as_given = pl.when(_AS_GIVEN).then("verdict").otherwise(pl.col("verdict").replace({"A": "B", "B": "A"}))
    both = _by_pair(
        verdicts,
        verdict_ab=as_given.filter(_AS_GIVEN).first(),
        verdict_ba=as_given.filter(pl.col("order") != "AB").first(),
    )
    first, second = pl.col("verdict_ab"), pl.col("verdict_ba")
    return both.with_columns(
        verdict=pl.when(first == second)
        .then(first)
        .when(first.is_not_null() & second.is_not_null())
        .then(pl.lit("TIE"))
        .otherwise(None)
    )


def _by_pair(frame: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    label = pl.col("label").filter(_AS_GIVEN).first()
    return frame.group_by(_PAIR, maintain_order=True).agg(label.alias("label"), **columns)


def _first_true(conditions: dict[str, pl.Expr]) -> pl.Expr:
    return pl.coalesce(pl.when(condition).then(pl.lit(name)) for name, condition in conditions.items())
