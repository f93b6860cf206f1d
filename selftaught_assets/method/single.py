"""Judging one response at a time: what the judge is asked, and the table of the ratings that it gave.

Not in the paper, which compares pairs; an option of ours (`judgments.form: single`). The pairs are the same, and so is
the only thing that is known of them: the winner is better than the loser. So a rating is never right by itself, only
beside one of the other response.

Belongs here: the requests about both responses of a pair, and which judgments can be right. Not here: reading a rating
(`ratings`), choosing what to train on (`single_examples`) and measuring (`single_evaluation`).
"""

import polars as pl

from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.judging import JUDGMENT_COLUMNS, unasked_reason
from selftaught_assets.method.ratings import parse_ratings

RATED = ("chosen", "rejected")
"""Which response of its pair a judgment is about."""

COLUMNS = (*JUDGMENT_COLUMNS, "rated", "rating")


def rating_requests(pairs: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about the kept pairs: how good each of the two responses is.

    Args:
        pairs: the table of pairs.

    Returns:
        request_id (`<pair_id>-<rated>`), pair_id, rated (chosen or rejected), instruction, response, reference (null);
        kept pairs in their order, the chosen response first.
    """
    kept = pairs.filter(pl.col("drop_reason").is_null())
    each = kept.with_columns(pl.lit(list(RATED)).alias("rated")).explode("rated")
    return each.select(
        pl.concat_str("pair_id", "rated", separator="-").alias("request_id"),
        "pair_id",
        "rated",
        "instruction",
        pl.when(pl.col("rated") == "chosen").then("chosen").otherwise("rejected").alias("response"),
        pl.lit(None, dtype=pl.String).alias("reference"),
    )


def ratings_table(requests: pl.DataFrame, completions: pl.DataFrame, *, judge: str) -> pl.DataFrame:
    """The table of judgments in the single form: one row for each completion, in their order.

    Its columns are those of the pairwise form and two more. `rated` takes the part of `chosen_position`, which is null;
    `verdict` is the rating as text, so that null means invalid in both forms.

    Args:
        requests: from `rating_requests`.
        completions: request_id, sample_index, text, finish_reason, completion_tokens.
        judge: digest of the judge's weights.

    Returns:
        `COLUMNS`; `is_correct` as in `with_correctness`.

    Raises:
        ValueError: a completion answers no request.
    """
    asked = completions.join(
        requests.select("request_id", "pair_id", "rated"), on="request_id", how="left", maintain_order="left"
    )
    unasked = asked.filter(pl.col("pair_id").is_null())
    if unasked.height:
        raise ValueError(f"{unasked.height} completions answer no request, the first one {unasked['request_id'][0]!r}.")
    table = asked.with_columns(
        parse_ratings(asked["text"]).alias("rating"), pl.lit(judge).alias("judge"), pl.col("text").alias("judgment")
    )
    identity = (table[name] for name in ("judge", "pair_id", "rated", "sample_index", "judgment"))
    return with_correctness(
        table.with_columns(
            pl.Series("judgment_id", row_ids("judgment", *identity), dtype=pl.String),
            pl.lit(None, dtype=pl.String).alias("chosen_position"),
            pl.col("rating").cast(pl.String).alias("verdict"),
            unasked_reason().alias("drop_reason"),
        )
    ).select(COLUMNS)


def with_correctness(judgments: pl.DataFrame) -> pl.DataFrame:
    """Adds `is_correct`: beside some judgment of the pair's other response, this one has the winner outscore the loser.

    Args:
        judgments: pair_id, rated, rating (null is never correct).
    """
    chosen, rejected = (pl.col("rating").filter(pl.col("rated") == name) for name in RATED)
    ordered = (
        pl.when(pl.col("rated") == "chosen")
        .then(pl.col("rating") > rejected.min().over("pair_id"))
        .otherwise(pl.col("rating") < chosen.max().over("pair_id"))
    )
    return judgments.with_columns(ordered.fill_null(False).alias("is_correct"))


def rating_quality(judgments: pl.DataFrame) -> dict[str, float]:
    """What the ratings of one judge look like, as numbers that can be followed over the iterations.

    Returns:
        Shares of all judgments (correct, invalid, truncated); `solved_share` of the pairs, for which some combination
        of two judgments is right; `ordered_share` of all combinations of two valid judgments of a pair in which the
        winner outscores the loser, and `tied_share` of those with equal ratings; both mean ratings. 0.0 where there is
        nothing to count. Rows without an answer are no judgments.
    """
    judgments = judgments.filter(pl.col("drop_reason").is_null())
    shares = judgments.select(
        correct_share=pl.col("is_correct").mean(),
        invalid_share=pl.col("rating").is_null().mean(),
        truncated_share=(pl.col("finish_reason") == "length").mean(),
        chosen_rating_mean=pl.col("rating").filter(pl.col("rated") == "chosen").mean(),
        rejected_rating_mean=pl.col("rating").filter(pl.col("rated") == "rejected").mean(),
    ).row(0, named=True)
    solved = judgments.group_by("pair_id").agg(pl.col("is_correct").any())["is_correct"].mean()
    valid = judgments.filter(pl.col("rating").is_not_null()).select("pair_id", "rated", "rating")
    winners, losers = (valid.filter(pl.col("rated") == name) for name in RATED)
    combined = winners.join(losers, on="pair_id", suffix="_rejected")
    ordered = (combined["rating"] > combined["rating_rejected"]).mean()
    tied = (combined["rating"] == combined["rating_rejected"]).mean()
    numbers = {**shares, "solved_share": solved, "ordered_share": ordered, "tied_share": tied}
    return {name: value or 0.0 for name, value in numbers.items()}
