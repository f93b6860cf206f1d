"""The suites of `judgments`: did the judge answer, in the format, and by reading?

Shares are taken over the first judgment of each pair and position: these are independent of one another, and where a
right one ends the search, the later ones are those of hard pairs. Rows without an answer are no judgments, here and
in the metadata of the asset; `kept_pairs_sampled_warnings` counts them.
"""

from functools import partial

import polars as pl

from selftaught_assets.checks.rules import (
    Estimate,
    RowRule,
    Subject,
    Suite,
    between,
    equal,
    estimated,
    only,
    share,
)
from selftaught_assets.method.scoring.statistics import difference_interval, wilson_interval
from selftaught_assets.method.verdicts import HIGHEST, LOWEST, parse_ratings, parse_verdicts
from selftaught_assets.recipe import Recipe

FIRST = "first judgments"
IS_FIRST = only(drop_reason=None, sample_index=0)
IDS = ("judgment_id", "pair_id")


def judgment_suites(recipe: Recipe) -> list[Suite]:
    bias = [] if recipe.judgments.form == "single" else [position_bias(recipe)]
    return [judgment_quality(recipe), *bias, kept_pairs_sampled(recipe), verdicts_reparsed(recipe)]


def judgment_quality(recipe: Recipe) -> Suite:
    """Judgments have a verdict, are complete, and are right often enough but not always."""
    checks, single = recipe.checks, recipe.judgments.form == "single"
    verdicts = [str(rating) for rating in range(LOWEST, HIGHEST + 1)] if single else ["A", "B", "TIE"]
    correct = share(
        "correct_share",
        FIRST,
        "the share that is right",
        "is_correct",
        low=checks.min_correct_share,
        high=checks.max_correct_share,
        where=IS_FIRST,
    )
    return Suite(
        asset="judgments",
        name="judgment_quality",
        purpose="Only right, complete and readable judgments can be trained on.",
        rows=_judgments,
        shown=(*IDS, "chosen_position", "verdict", "finish_reason", "judgment"),
        rules=(
            share(
                "parsed_share",
                FIRST,
                "the share with a verdict that can be read",
                "verdict",
                *verdicts,
                low=checks.min_parse_rate,
                where=IS_FIRST,
            ),
            share(
                "truncated_share",
                FIRST,
                "the share that the token limit cut off",
                "finish_reason",
                "length",
                high=checks.max_truncated_share,
                where=IS_FIRST,
            ),
            *([] if single else [correct]),  # A rating is right beside another one only, so first ones tell nothing.
            share(
                "solved_share",
                "pairs that the judge could be asked about",
                "the share with a right judgment",
                "solved",
                low=checks.min_solved_share,
                where=only(first_of_pair=True),
            ),
        ),
    )


def position_bias(recipe: Recipe) -> Suite:
    """The verdict does not depend on where the winner stands."""
    most = recipe.checks.max_position_bias
    return Suite(
        asset="judgments",
        name="position_bias",
        purpose="A judge that favours a position is right by luck, and training would reinforce it.",
        rows=_sided,
        shown=(*IDS, "chosen_position", "verdict", "judgment"),
        rules=(
            estimated(
                "position_bias",
                f"{FIRST} that name a side",
                "half the difference of the shares that are right with the winner in A and in B",
                _position_bias,
                low=-most,
                high=most,
                where=only(sided=True),
                culprits="says_a",
            ),
        ),
        numbers=_shares_of_a,
    )


def kept_pairs_sampled(recipe: Recipe) -> Suite:
    """Every kept pair was judged."""
    of = "kept pairs"
    return Suite(
        asset="judgments",
        name="kept_pairs_sampled",
        purpose="A pair without a judgment is lost without a reason.",
        rows=_sampled_pairs,
        shown=("pair_id", "instruction_id", "samples", "instruction"),
        upstream=("pairs",),
        rules=(
            RowRule("pairs_unsampled", of, "have no judgment", (between("samples", 1, None),)),
            share(
                "unanswered_share",
                of,
                "the share that the judge could not be asked about",
                "unanswered",
                high=recipe.checks.max_odd_share,
            ),
        ),
    )


def verdicts_reparsed(recipe: Recipe) -> Suite:
    """The verdict in the table is the one in the text."""
    of = "judgments"
    return Suite(
        asset="judgments",
        name="verdicts_reparsed",
        purpose="A verdict that differs from its text can turn a wrong judgment into an example.",
        rows=partial(_read_again, recipe),
        shown=(*IDS, "verdict", "read_again", "chosen_position", "is_correct", "judgment"),
        rules=(
            RowRule(
                "verdicts_differ",
                of,
                "have a verdict that differs from their text, read again",
                (equal("verdict", "read_again"),),
            ),
            RowRule(
                "correctness_differs",
                of,
                "are marked right or wrong against their own verdict",
                (equal("is_correct", "rightly_correct"),),
            ),
        ),
    )


def _judgments(subject: Subject) -> pl.DataFrame:
    answered = pl.col("drop_reason").is_null()
    return subject.tables["judgments"].with_columns(
        solved=pl.col("is_correct").any().over("pair_id"),
        first_of_pair=answered & (answered.cum_sum().over("pair_id") == 1),
    )


def _sided(subject: Subject) -> pl.DataFrame:
    sided = pl.col("verdict").is_in(["A", "B"]).fill_null(False)
    return _judgments(subject).with_columns(sided=IS_FIRST.holds & sided, says_a=pl.col("verdict") == "A")


def _position_bias(rows: pl.DataFrame) -> Estimate | None:
    counts = {
        position: (int(part["is_correct"].sum()), part.height)
        for (position,), part in rows.group_by("chosen_position")
        if part.height
    }
    if set(counts) != {"A", "B"}:
        return None
    (right_a, n_a), (right_b, n_b) = counts["A"], counts["B"]
    in_a, in_b = right_a / n_a, right_b / n_b
    low, high = difference_interval(in_a, wilson_interval(right_a, n_a), in_b, wilson_interval(right_b, n_b))
    return Estimate((in_a - in_b) / 2, low / 2, high / 2, n_a + n_b)


def _shares_of_a(rows: pl.DataFrame) -> dict[str, int | float]:
    """The share of verdicts for A by where the winner stands."""
    says_a = rows.filter("sided").group_by("chosen_position").agg(pl.col("says_a").mean()).sort("chosen_position")
    return {"rows": rows.height} | {f"says_a_where_winner_in_{place}": value for place, value in says_a.iter_rows()}


def _sampled_pairs(subject: Subject) -> pl.DataFrame:
    kept = subject.tables["pairs"].filter(pl.col("drop_reason").is_null())
    judged = (
        subject.tables["judgments"]
        .group_by("pair_id")
        .agg(samples=pl.len(), answers=pl.col("drop_reason").is_null().sum())
    )
    return kept.join(judged, on="pair_id", how="left", maintain_order="left").with_columns(
        pl.col("samples").fill_null(0), unanswered=pl.col("answers") == 0
    )


def _read_again(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    table = subject.tables["judgments"]
    if recipe.judgments.form == "single":
        again = parse_ratings(table["judgment"]).cast(pl.String)
        right = pl.col("is_correct") & pl.col("verdict").is_not_null()
    else:
        again = parse_verdicts(table["judgment"], recipe.verdicts.format, ties=recipe.verdicts.ties)
        right = (pl.col("verdict") == pl.col("chosen_position")).fill_null(False)
    return table.with_columns(read_again=again, rightly_correct=right)
