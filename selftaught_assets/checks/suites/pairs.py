"""The suites of `pairs`: is the label true, and does only the meaning reveal it?"""

from collections.abc import Callable
from functools import partial

import polars as pl

from selftaught_assets.checks.rules import (
    KEPT,
    Estimate,
    RowRule,
    Subject,
    Suite,
    count,
    estimated,
    exact_share,
    in_set,
    matching,
    not_matching,
    not_null,
    only,
    share,
    texts_differ,
)
from selftaught_assets.method.diagnostics import (
    FOLDS,
    Picked,
    leading_signs,
    leading_words,
    predictable_from_one_sign,
    predictable_from_words,
    refuses,
    signs_of,
)
from selftaught_assets.method.identity import VISIBLE, draw
from selftaught_assets.method.instructions import earlier_likeness, jaccard
from selftaught_assets.method.pairs import STRATEGY, TEMPLATE_LEFTOVER
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.recipe import Recipe

OF = "kept pairs"
IDS = ("pair_id", "instruction_id")
TEXTS = ("instruction", "modified_instruction", "chosen", "rejected")

SURFACE_ROWS = 2_000
"""Pairs that `surface_signs` looks at: its intervals are then ±2 points."""
SIGNS_SHOWN = 3

CAUSES = {
    "truncated": ("truncated",),
    "responses_equal": ("responses_equal",),
    "instruction_unchanged": ("modified_instruction_unchanged",),
    "unreadable": ("chosen_empty", "rejected_empty", "modified_instruction_missing", "template_leftover"),
    "unasked": ("failed", "prompt_too_long"),
}
"""Drop reasons by what mends them."""


def pair_suites(recipe: Recipe) -> list[Suite]:
    makers = (
        pair_validity,
        construction_yield,
        near_duplicates,
        modification_similarity,
        length_bias,
        surface_signs,
        refusals,
        strategy_share,
    )
    return [make(recipe) for make in makers]


def pair_validity(recipe: Recipe) -> Suite:
    """Kept pairs are what the label says: two real, different answers, one of them to a different instruction."""
    return Suite(
        asset="pairs",
        name="pair_validity",
        purpose="A pair teaches something only if its rejected response answers a different instruction.",
        rows=_pairs,
        shown=(*IDS, *TEXTS, "drop_reason"),
        rules=(
            count("valid_pairs", OF, "the number of valid pairs", low=1, where=KEPT),
            exact_share(
                "valid_share",
                "pairs",
                "the share of valid pairs",
                "drop_reason",
                None,
                low=recipe.pairs.min_valid_share,
            ),
            _present("chosen_empty", "have an empty chosen response", "chosen"),
            _present("rejected_empty", "have an empty rejected response", "rejected"),
            RowRule("responses_equal", OF, "have two equal responses", (texts_differ("chosen", "rejected"),), KEPT),
            _present("modified_instruction_missing", "lack a modified instruction", "modified_instruction"),
            RowRule(
                "modified_instruction_unchanged",
                OF,
                "repeat the instruction as the modified one",
                (texts_differ("instruction", "modified_instruction", ignore_case=True),),
                KEPT,
            ),
            _no_template_in("chosen", "chosen response"),
            _no_template_in("rejected", "rejected response"),
            _no_template_in("modified_instruction", "modified instruction"),
        ),
    )


def construction_yield(recipe: Recipe) -> Suite:
    """How many instructions give a valid pair, and why others are lost."""
    most = recipe.checks.max_drop_share
    return Suite(
        asset="pairs",
        name="construction_yield",
        purpose="Each cause of a lost pair has its own remedy.",
        rows=_pairs,
        shown=(*IDS, "drop_reason", *TEXTS),
        rules=tuple(
            share(
                f"{cause}_share",
                "pairs",
                f"the share lost as {' or '.join(reasons)}",
                "drop_reason",
                *reasons,
                high=most,
            )
            for cause, reasons in CAUSES.items()
        ),
    )


def near_duplicates(recipe: Recipe) -> Suite:
    """Pairs are about different things."""
    alike = recipe.checks.near_duplicate
    return Suite(
        asset="pairs",
        name="near_duplicates",
        purpose="An instruction that is repeated in other words counts several times in training.",
        rows=partial(_duplicates, recipe),
        shown=(*IDS, "like_pair_id", "instruction"),
        rules=(
            share(
                "near_duplicate_share",
                OF,
                f"the share whose instruction is like an earlier one (similarity {alike:g} or more)",
                "repeats",
                high=recipe.checks.max_near_duplicate_share,
            ),
        ),
    )


def modification_similarity(recipe: Recipe) -> Suite:
    """The modified instruction is close to the instruction, and not the same."""
    checks, most = recipe.checks, recipe.checks.max_outside_similarity
    near = f"the share whose modified instruction is too near (similarity above {checks.max_similarity:g})"
    far = f"the share whose modified instruction is too far (similarity below {checks.min_similarity:g})"
    return Suite(
        asset="pairs",
        name="modification_similarity",
        purpose="Too near, and the rejected response may be right; too far, and the pair is trivial to judge.",
        rows=partial(_similarities, recipe),
        shown=(*IDS, "similarity", "instruction", "modified_instruction"),
        rules=(
            share("too_near_share", OF, near, "too_near", high=most),
            share("too_far_share", OF, far, "too_far", high=most),
        ),
        numbers=_similarity_numbers,
    )


def length_bias(recipe: Recipe) -> Suite:
    """The longer response is not always the better one."""
    low, high = (round(0.5 + sign * recipe.checks.length_tolerance, 6) for sign in (-1, 1))
    return Suite(
        asset="pairs",
        name="length_bias",
        purpose="If the longer response tends to win, or to lose, the judge learns to count characters.",
        rows=_lengths,
        shown=(*IDS, "chosen_characters", "rejected_characters", "chosen", "rejected"),
        rules=(
            share(
                "longer_wins_share",
                "kept pairs of different length",
                "the share in which the longer response wins",
                "longer_wins",
                low=low,
                high=high,
                where=only(kept_unequal=True),
            ),
        ),
    )


def surface_signs(recipe: Recipe) -> Suite:
    """The surface of the texts does not reveal the winner.

    Any sign will do, so none is named beforehand: `predictable_from_one_sign` looks for the one that tells most, among
    first and last words and markup, and `predictable_from_words` lets a probe see all words. Both are tried on pairs
    that they have not seen. The longer text is cut to the length of the shorter one; where one side is longer in
    nearly all pairs, words may tell it anyway, as long answers begin otherwise: see `length_bias` first."""
    most, of = recipe.checks.max_probe_accuracy, "kept pairs of the sample"
    return Suite(
        asset="pairs",
        name="surface_signs",
        purpose="A sign that only losers have, such as leftovers of a template, is learned instead of judging.",
        rows=partial(_surfaces, recipe),
        shown=(*IDS, "leading_sign", "chosen", "rejected"),
        rules=(
            estimated(
                "predictable_from_one_sign",
                of,
                "how often one first word, last word or kind of markup reveals the winner",
                partial(_picked, predictable_from_one_sign),
                high=most,
                culprits="told",
            ),
            estimated(
                "predictable_from_words",
                of,
                "how often a probe finds the winner from the words of both responses",
                partial(_picked, predictable_from_words),
                high=most,
            ),
        ),
        numbers=_sign_numbers,
    )


def refusals(recipe: Recipe) -> Suite:
    """Responses answer."""
    most = recipe.checks.max_refusal_share
    return Suite(
        asset="pairs",
        name="refusals",
        purpose="A refusal paired with an answer teaches only whether refusals win, not how to judge answers.",
        rows=_refusals,
        shown=(*IDS, "chosen", "rejected"),
        rules=tuple(
            share(
                f"{side}_refusal_share",
                OF,
                f"the share whose {side} response refuses",
                side_refuses,
                high=most,
                where=KEPT,
            )
            for side, side_refuses in (("chosen", "chosen_refuses"), ("rejected", "rejected_refuses"))
        ),
    )


def strategy_share(recipe: Recipe) -> Suite:
    """Every pair says how it was made."""
    return Suite(
        asset="pairs",
        name="strategy_share",
        purpose="The label is true for a reason: the strategy by which the pair was made.",
        rows=_pairs,
        shown=(*IDS, "strategy"),
        rules=(
            RowRule(
                "strategy_unknown",
                OF,
                f"have a strategy other than {STRATEGY}",
                (not_null("strategy"), in_set("strategy", [STRATEGY])),
                KEPT,
            ),
        ),
        numbers=_strategy_numbers,
    )


def _pairs(subject: Subject) -> pl.DataFrame:
    return subject.tables["pairs"]


def _present(name: str, fault: str, column: str) -> RowRule:
    return RowRule(name, OF, fault, (not_null(column), matching(column, VISIBLE)), KEPT)


def _no_template_in(column: str, text: str) -> RowRule:
    fault = f"have template text left in the {text}"
    return RowRule(f"template_in_{column}", OF, fault, (not_matching(column, TEMPLATE_LEFTOVER),), KEPT)


def _kept_only(subject: Subject) -> pl.DataFrame:
    return subject.tables["pairs"].filter(pl.col("drop_reason").is_null())


def _duplicates(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    kept = _kept_only(subject)
    earlier = earlier_likeness(kept["instruction"], recipe.checks.near_duplicate)
    return kept.with_columns(repeats=earlier.is_not_null(), like_pair_id=kept["pair_id"].gather(earlier))


def _similarities(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    kept = _kept_only(subject)
    return kept.with_columns(jaccard(kept["instruction"], kept["modified_instruction"]).round(3)).with_columns(
        too_near=pl.col("similarity") > recipe.checks.max_similarity,
        too_far=pl.col("similarity") < recipe.checks.min_similarity,
    )


def _similarity_numbers(rows: pl.DataFrame) -> dict[str, int | float]:
    median = rows["similarity"].median()
    return {"rows": rows.height} | ({} if median is None else {"similarity_median": median})


def _lengths(subject: Subject) -> pl.DataFrame:
    rows = subject.tables["pairs"].with_columns(
        chosen_characters=pl.col("chosen").str.len_chars(), rejected_characters=pl.col("rejected").str.len_chars()
    )
    unequal = pl.col("chosen_characters") != pl.col("rejected_characters")
    return rows.with_columns(
        kept_unequal=(pl.col("drop_reason").is_null() & unequal).fill_null(False),
        longer_wins=pl.col("chosen_characters") > pl.col("rejected_characters"),
    )


def _surfaces(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    """At most `SURFACE_ROWS` kept pairs, drawn by seed and id, and whether the leading sign tells their winner."""
    kept = _kept_only(subject).with_columns(
        (draw("instruction_id", recipe.seed, "surface") % FOLDS).cast(pl.Int64).alias("fold")
    )
    place = draw("pair_id", recipe.seed, "surface sample").rank("ordinal")
    rows = kept.filter(place <= SURFACE_ROWS) if kept.height > SURFACE_ROWS else kept
    leading = leading_signs(rows, 1)
    if not leading:
        return rows.with_columns(leading_sign=pl.lit(None, dtype=pl.String), told=pl.lit(False))
    (sign,) = leading
    winner, loser = ("chosen", "rejected") if sign.chosen > sign.rejected else ("rejected", "chosen")
    told = [
        sign.name in signs_of(row[winner]) and sign.name not in signs_of(row[loser])
        for row in rows.select("chosen", "rejected").iter_rows(named=True)
    ]
    return rows.with_columns(
        leading_sign=pl.lit(f"only the {winner} response {sign.name}"), told=pl.Series(told, dtype=pl.Boolean)
    )


def _picked(probe: Callable[[pl.DataFrame], Picked], rows: pl.DataFrame) -> Estimate | None:
    if rows["instruction_id"].n_unique() < 2 * FOLDS:
        return None
    right, n = probe(rows)
    return Estimate(right / n, *wilson_interval(round(right), n), n)


def _sign_numbers(rows: pl.DataFrame) -> dict[str, int | float]:
    """The signs and words that stand most on one side: the share of pairs in which one response alone has them."""
    numbers: dict[str, int | float] = {"rows": rows.height}
    signs = leading_signs(rows, SIGNS_SHOWN)
    words = [word._replace(name=f"has the word {word.name!r}") for word in leading_words(rows, SIGNS_SHOWN)]
    for sign in (*signs, *words):
        numbers[f"only_chosen/{sign.name}"] = sign.chosen / rows.height
        numbers[f"only_rejected/{sign.name}"] = sign.rejected / rows.height
    return numbers


def _refusals(subject: Subject) -> pl.DataFrame:
    return subject.tables["pairs"].with_columns(chosen_refuses=refuses("chosen"), rejected_refuses=refuses("rejected"))


def _strategy_numbers(rows: pl.DataFrame) -> dict[str, int | float]:
    kept = rows.filter(KEPT.holds)
    counts = kept["strategy"].fill_null("none").value_counts(sort=True)
    return {"rows": rows.height} | {f"strategy/{name}": count / kept.height for name, count in counts.iter_rows()}
