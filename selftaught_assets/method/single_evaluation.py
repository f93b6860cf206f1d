"""Measuring in the single form: do the ratings of two responses order the pair?

Belongs here: what the judge is asked about labelled pairs, and the verdict that two ratings make. Not here: accuracies
and tests (`scores`).

The response with the higher rating is the better one; equal ratings are a tie, a verdict of its own. There is no order
of the responses, so each pair has one verdict and not two: `order` is `none`.
"""

import polars as pl

from selftaught_assets.method import evaluation
from selftaught_assets.method.evaluation import Decoding, finish_reasons
from selftaught_assets.method.judging import NO_ORDER
from selftaught_assets.method.ratings import parse_ratings
from selftaught_assets.method.scores import with_score
from selftaught_assets.method.verdicts import Verdict
from selftaught_assets.method.votes import count_votes

COLUMNS = (*evaluation.COLUMNS, "rating_a", "rating_b")


def benchmark_rating_requests(items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: how good each response is.

    Args:
        items: rows of the table `benchmarks`.

    Returns:
        The columns of `items`, request_id (`<benchmark>/<item_id>/<side>`), side (A or B) and response; A before B.
    """
    asked = items.with_columns(pl.lit(["A", "B"]).alias("side")).explode("side")
    return asked.with_columns(
        pl.concat_str("benchmark", "item_id", "side", separator="/").alias("request_id"),
        pl.when(pl.col("side") == "A").then("response_a").otherwise("response_b").alias("response"),
    )


def rating_verdicts(
    requests: pl.DataFrame, completions: pl.DataFrame, *, decoding: Decoding, judge: str
) -> pl.DataFrame:
    """One verdict for each pair: the response with the higher mean rating (`vote`: of n samples; `greedy`: of one).

    Invalid ratings are left out of the mean; a pair of which one response has no valid rating has no verdict. Each
    sample index is also a vote by itself, of its two ratings: so the accuracy of a single sample is told apart from
    that of the mean.

    Args:
        requests: from `benchmark_rating_requests`.
        completions: request_id, sample_index, text, finish_reason; the same sample indices for both responses of a
            pair.
        decoding: of these completions.
        judge: digest of the judge's weights.

    Returns:
        `COLUMNS`, one row for each pair, in their order: `order` is `NO_ORDER`, `verdict` A, B, TIE or null; rating_a
        and rating_b are the means.
    """
    rated = completions.with_columns(parse_ratings(completions["text"]).alias("rating"))
    sides = requests.select("request_id", "benchmark", "item_id", "side").join(rated, on="request_id")
    pair = ["benchmark", "item_id"]
    side_a, side_b = (sides.filter(pl.col("side") == side) for side in ("A", "B"))
    samples = side_a.select(*pair, "sample_index", rating_a="rating").join(
        side_b.select(*pair, "sample_index", rating_b="rating"), on=[*pair, "sample_index"], validate="1:1"
    )
    means = samples.group_by(pair).agg(pl.col("rating_a", "rating_b").mean())
    votes = count_votes(samples.with_columns(verdict=_higher()), by=pair).drop("verdict")
    pairs = requests.filter(pl.col("side") == "A")
    for table in (means, votes, finish_reasons(sides, by=pair)):
        pairs = pairs.join(table, on=pair, how="left", maintain_order="left", validate="1:1")
    named = pairs.with_columns(
        order=pl.lit(NO_ORDER), decoding=pl.lit(decoding), judge=pl.lit(judge), verdict=_higher()
    )
    return with_score(named).select(COLUMNS)


def tied_share(verdicts: pl.DataFrame) -> float:
    """Share of pairs with equal ratings; each is wrong in `accuracy` unless its label is a tie as well."""
    return float((verdicts["verdict"] == Verdict.TIE.value).fill_null(False).mean() or 0.0)


def _higher() -> pl.Expr:
    a, b = pl.col("rating_a"), pl.col("rating_b")
    return pl.when(a > b).then(pl.lit("A")).when(b > a).then(pl.lit("B")).when(a == b).then(pl.lit(Verdict.TIE.value))
