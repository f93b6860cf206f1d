"""A person's answers about rows of the tables, laid beside the labels that the method gave them.

Belongs here: which rows a person is shown, what an answer means, how far person and labels agree. Not here: showing the
rows and keeping the answers (the room `review`).

Looking at rows is the first experiment on any new data: the label of a pair is only as true as its construction, and a
right verdict may stand on wrong reasons. What the label claims of each kind:

- pairs: the response in this position was written to the instruction itself, so it is the better one.
- judgments: `is_correct`. A person calls a judgment good if verdict and reasoning are right.
- instructions: it was selected, so it is good.
"""

from typing import Literal

import polars as pl

from selftaught_assets.method.draws import draw, share
from selftaught_assets.method.intervals import wilson_interval

Kind = Literal["pairs", "judgments", "instructions"]
Answer = Literal["A", "B", "good", "bad", "unsure"]

ANSWERS: dict[Kind, tuple[Answer, ...]] = {
    "pairs": ("A", "B", "unsure"),
    "judgments": ("good", "bad", "unsure"),
    "instructions": ("good", "bad", "unsure"),
}


def rows_to_review(ids: pl.DataFrame, id_column: str, *, n: int, seed: int) -> pl.DataFrame:
    """Draws n rows; with the same seed, a larger n begins with the rows of a smaller one.

    Args:
        ids: a table that has the ids in `id_column`, no id twice.
        id_column: its name.
        n: how many, at most.
        seed: of the draw, which depends on nothing but this and the ids.

    Returns:
        The drawn rows in the order of their draws.
    """
    drawn = ids.with_columns(draw(id_column, seed, "review").alias("_draw"))
    return drawn.sort("_draw").head(n).drop("_draw")


def shown_position() -> pl.Expr:
    """Where the chosen response of a pair stands before a person: A or B, drawn by `pair_id` alone.

    A pair looks the same in every review, so that A and B of an answer always mean the same. The draw is independent of
    the one that says where the judge sees it.
    """
    return pl.when(share("pair_id", 0, "review position") < 0.5).then(pl.lit("A")).otherwise(pl.lit("B"))


def agrees(answer: Answer | None, label: str | None) -> bool | None:
    """Whether the answer says what the label says; None where the person is unsure, took the answer back, or there is
    no label."""
    return None if label is None or answer in (None, "unsure") else answer == label


def agreement_table(answers: pl.DataFrame) -> pl.DataFrame:
    """How often persons agree with the labels, by kind and iteration.

    Args:
        answers: kind, iteration, id, reviewer, answer (null: taken back), agrees, in the order in which they were
            given; the last of a reviewer on a row counts. Answers of several reviewers on one row count each.

    Returns:
        kind, iteration, n (answers that are sure), agreed, share (null where n is 0), low and high (Wilson, 95 %) and
        unsure, sorted by kind and iteration.
    """
    last = answers.unique(["kind", "iteration", "id", "reviewer"], keep="last", maintain_order=True)
    counts = (
        last.filter(pl.col("answer").is_not_null())
        .group_by("kind", "iteration")
        .agg(
            n=pl.col("agrees").count().cast(pl.Int64),
            agreed=pl.col("agrees").sum().cast(pl.Int64),
            unsure=(pl.col("answer") == "unsure").sum().cast(pl.Int64),
        )
        .sort("kind", "iteration")
    )
    intervals = [wilson_interval(agreed, n) for agreed, n in counts.select("agreed", "n").iter_rows()]
    return counts.with_columns(
        pl.when(pl.col("n") > 0).then(pl.col("agreed") / pl.col("n")).alias("share"),
        pl.Series("low", [interval.low for interval in intervals], dtype=pl.Float64),
        pl.Series("high", [interval.high for interval in intervals], dtype=pl.Float64),
    ).select("kind", "iteration", "n", "agreed", "share", "low", "high", "unsure")
