"""Judging one response at a time: what is asked, the ratings, the training examples, and the verdicts on pairs.

Not in the paper, which compares pairs; an option of ours (`judgments.form: single`). The pairs are the same, and so
is the only thing that is known of them: the winner is better than the loser. So a rating is never right by itself,
only beside one of the other response.

The filtered set is balanced by itself: a pair gives an example of its winner and one of its loser, or none. So as many
responses that deserve more as such that deserve less are trained on, in each split too.

In use, the response with the higher rating is the better one; equal ratings are a tie, a verdict of its own. There is
no order of the responses, so each pair has one verdict and not two: `order` is `none`.
"""

from collections.abc import Sequence
from typing import Literal

import polars as pl

from selftaught_assets.method import training_set
from selftaught_assets.method.identity import draw, row_ids
from selftaught_assets.method.judging import JUDGMENT_COLUMNS, NO_ORDER, unasked_reason
from selftaught_assets.method.prompts import PromptTemplates, score_messages
from selftaught_assets.method.scoring import accuracy
from selftaught_assets.method.scoring.accuracy import Decoding, finish_reasons, with_score
from selftaught_assets.method.training_set import assign_split
from selftaught_assets.method.verdicts import Verdict, parse_ratings
from selftaught_assets.method.votes import COUNTS, tally

RATED = ("chosen", "rejected")
"""Which response of its pair a judgment is about."""

RATED_JUDGMENT_COLUMNS = (*JUDGMENT_COLUMNS, "rated", "rating")


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
        `RATED_JUDGMENT_COLUMNS`; `is_correct` as in `with_correctness`.

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
    ).select(RATED_JUDGMENT_COLUMNS)


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


DROP_REASONS = ("invalid_rating", "truncated", "pair_not_ordered", "wrong_rating", "not_drawn")
"""Why a judgment is not trained on. Where several apply, the first in this order is reported."""

RATED_EXAMPLE_COLUMNS = (*training_set.EXAMPLE_COLUMNS, "rating")


def select_two(judgments: pl.DataFrame, *, keep: Literal["correct", "any"], seed: int) -> pl.DataFrame:
    """Draws for each pair one judgment of the winner and one of the loser, together.

    Rejection sampling as in the paper (section 3, "Judgment Annotation"), where what can be right is a combination of
    two judgments: those in which the winner outscores the loser stay, each of them is equally likely, and a pair
    without one gives nothing. With `keep="any"` all combinations stay: the control. Invalid and truncated judgments are
    in no combination.

    Args:
        judgments: judgment_id, pair_id, rated, rating, finish_reason and any further columns.
        seed: of the draw, which belongs to the judgments' ids: the order of rows has no influence.

    Returns:
        Every row, in its order, with `drop_reason` (null = drawn): of each pair two rows are kept, or none.
    """
    fault = (
        pl.when(pl.col("rating").is_null())
        .then(pl.lit("invalid_rating"))
        .when(pl.col("finish_reason") == "length")
        .then(pl.lit("truncated"))
    )
    judged = judgments.with_columns(fault.alias("drop_reason"))
    sides = judged.filter(pl.col("drop_reason").is_null()).select("judgment_id", "pair_id", "rated", "rating")
    winners, losers = (sides.filter(pl.col("rated") == name) for name in ("chosen", "rejected"))
    combinations = winners.join(losers, on="pair_id", suffix="_rejected").filter(
        (pl.col("rating") > pl.col("rating_rejected")) | (keep == "any")
    )
    number = draw("judgment_id", seed, "rejection", "judgment_id_rejected")
    drawn = combinations.filter(number == number.min().over("pair_id"))
    both = ("judgment_id", "judgment_id_rejected")
    in_some, in_drawn = (
        pl.col("judgment_id").is_in(pl.concat([frame[name] for name in both]).unique().implode())
        for frame in (combinations, drawn)
    )
    ordered = pl.col("pair_id").is_in(combinations["pair_id"].unique().implode())
    choice = (
        pl.when(~ordered)
        .then(pl.lit("pair_not_ordered"))
        .when(~in_some)
        .then(pl.lit("wrong_rating"))
        .when(~in_drawn)
        .then(pl.lit("not_drawn"))
    )
    return judged.with_columns(pl.coalesce("drop_reason", choice).alias("drop_reason"))


def filtered_set(
    judgments: pl.DataFrame,
    pairs: pl.DataFrame,
    templates: PromptTemplates,
    *,
    keep: Literal["correct", "any"],
    validation_share: float,
    seed: int,
) -> pl.DataFrame:
    """The table of candidate training examples, one row for each judgment that was not dropped before.

    An example asks as the judge was asked and answers with the judgment. Both examples of a pair are on one side of the
    split, which is by instruction.

    Args:
        judgments: from `single.ratings_table`; its dropped rows are left out.
        pairs: the table of pairs that they judge.
        seed: of the draw and of the split.

    Returns:
        `RATED_EXAMPLE_COLUMNS`: those of the pairwise form, where `label` is the response that was rated (chosen or
        rejected), and `rating`. `messages` and `completion` are null in dropped rows.

    Raises:
        ValueError: a judgment's pair is not in `pairs`, or there is no template `score`.
    """
    candidates = judgments.filter(pl.col("drop_reason").is_null()).select(RATED_JUDGMENT_COLUMNS)
    facts = training_set.pair_facts(candidates, pairs)
    drawn = select_two(candidates, keep=keep, seed=seed).rename({"rated": "label"})
    known = drawn.join(facts, on="pair_id", how="left", maintain_order="left")
    split = assign_split(known, validation_share=validation_share, seed=seed)
    messages = [
        score_messages(templates, instruction, chosen if label == "chosen" else rejected) if reason is None else None
        for reason, label, instruction, chosen, rejected in split.select(
            "drop_reason", "label", "instruction", "chosen", "rejected"
        ).iter_rows()
    ]
    return split.with_columns(
        pl.Series("example_id", row_ids("example", split["judgment_id"]), dtype=pl.String),
        pl.Series("messages", messages, dtype=training_set.MESSAGES),
        pl.when(pl.col("drop_reason").is_null()).then("judgment").alias("completion"),
    ).select(RATED_EXAMPLE_COLUMNS)


def rating_distribution(frame: pl.DataFrame) -> pl.DataFrame:
    """How often each rating was kept for a winner and for a loser.

    Args:
        frame: from `filtered_set`.

    Returns:
        rating, chosen, rejected; ratings that occur, in ascending order.
    """
    kept = frame.filter(pl.col("drop_reason").is_null())
    return (
        kept.group_by("rating")
        .agg((pl.col("label") == name).sum().cast(pl.Int64).alias(name) for name in ("chosen", "rejected"))
        .sort("rating")
    )


def predictable_from_rating(distribution: pl.DataFrame) -> float:
    """How often one would guess from a kept rating alone whose it is, the winner's or the loser's.

    One half says that the ratings of winners and losers are distributed alike, and each response was rated on a scale
    of its own pair; 1.0 that one threshold parts all winners from all losers, whatever the instruction. A winner that
    always outscores its loser needs more than one half, wherever pairs share a scale.

    Args:
        distribution: from `rating_distribution`.

    Returns:
        A share in [0.5, 1]; 0.5 where there is nothing to tell.
    """
    best = distribution.select(pl.max_horizontal("chosen", "rejected").sum()).item()
    count = distribution.select((pl.col("chosen") + pl.col("rejected")).sum()).item()
    return best / count if count else 0.5


SIDES = ("A", "B")
_RATINGS = ("rating_a", "rating_b")
RATED_VERDICT_COLUMNS = (*accuracy.VERDICT_COLUMNS, *_RATINGS)


def one_by_one(pairs: pl.DataFrame) -> pl.DataFrame:
    """Every pair twice, once for each of its responses: adds `side` (A, then B) and `response`."""
    asked = pairs.with_columns(pl.lit(list(SIDES)).alias("side")).explode("side")
    return asked.with_columns(response=pl.when(pl.col("side") == "A").then("response_a").otherwise("response_b"))


def benchmark_rating_requests(items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: how good each response is.

    Args:
        items: rows of the table `benchmarks`.

    Returns:
        The columns of `items`, request_id (`<benchmark>/<item_id>/<side>`), side (A or B) and response; A before B.
    """
    return one_by_one(items).with_columns(request_id=pl.concat_str("benchmark", "item_id", "side", separator="/"))


def rating_votes(ratings: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """The votes of ratings: those of both responses with one sample index are a vote by themselves.

    Args:
        ratings: the columns `by`, side, sample_index and rating; the same sample indices for both sides.
        by: columns that tell the pairs apart.

    Returns:
        `by`, sample_index, rating_a, rating_b and verdict (A, B, TIE, or null where a rating is invalid).
    """
    side_a, side_b = (
        ratings.filter(pl.col("side") == side).select(*by, "sample_index", pl.col("rating").alias(name))
        for side, name in zip(SIDES, _RATINGS, strict=True)
    )
    both = side_a.join(side_b, on=[*by, "sample_index"], maintain_order="left", validate="1:1")
    return both.with_columns(verdict=_higher())


def rated_pairs(votes: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """One verdict for each pair: the response with the higher mean rating.

    Invalid ratings are left out of the mean; a pair of which one response has no valid rating has no verdict. So the
    verdict need not be that of most votes, which tell how accurate a single sample is.

    Args:
        votes: from `rating_votes`.
        by: columns that tell the pairs apart.

    Returns:
        `by`, rating_a and rating_b (the means), `votes.COUNTS` and verdict.
    """
    means = votes.group_by(by, maintain_order=True).agg(pl.col(_RATINGS).mean())
    counted = means.join(tally(votes, by), on=by, maintain_order="left", validate="1:1")
    return counted.select(*by, *_RATINGS, *COUNTS, verdict=_higher())


def rating_verdicts(
    requests: pl.DataFrame, completions: pl.DataFrame, *, decoding: Decoding, judge: str
) -> pl.DataFrame:
    """The table of a judge's verdicts on benchmark pairs, by `rated_pairs`.

    Args:
        requests: from `benchmark_rating_requests`.
        completions: request_id, sample_index, text, finish_reason; the same sample indices for both responses of a
            pair.
        decoding: of these completions.
        judge: digest of the judge's weights.

    Returns:
        `RATED_VERDICT_COLUMNS`, one row for each pair, in their order: `order` is `NO_ORDER`, `verdict` A, B, TIE or
        null; rating_a and rating_b are the means.
    """
    rated = completions.with_columns(parse_ratings(completions["text"]).alias("rating"))
    sides = requests.select("request_id", "benchmark", "item_id", "side").join(rated, on="request_id")
    pair = ["benchmark", "item_id"]
    verdicts = requests.filter(pl.col("side") == "A")
    for table in (rated_pairs(rating_votes(sides, pair), pair), finish_reasons(sides, by=pair)):
        verdicts = verdicts.join(table, on=pair, how="left", maintain_order="left", validate="1:1")
    named = verdicts.with_columns(order=pl.lit(NO_ORDER), decoding=pl.lit(decoding), judge=pl.lit(judge))
    return with_score(named).select(RATED_VERDICT_COLUMNS)


def tied_share(verdicts: pl.DataFrame) -> float:
    """Share of pairs with equal ratings; each is wrong in `accuracy` unless its label is a tie as well."""
    return float((verdicts["verdict"] == Verdict.TIE.value).fill_null(False).mean() or 0.0)


def _higher() -> pl.Expr:
    a, b = map(pl.col, _RATINGS)
    return pl.when(a > b).then(pl.lit("A")).when(b > a).then(pl.lit("B")).when(a == b).then(pl.lit(Verdict.TIE.value))
