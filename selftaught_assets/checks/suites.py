"""The suites of each table: what has to hold before the next stage may use it.

Belongs here: declarations. Thresholds come from the recipe. Not here: the account of rows, which every table has
(accounts.py).
"""

import polars as pl

from selftaught_assets.checks.accounts import rows_accounted
from selftaught_assets.checks.rules import Limit, RowRule, Suite, Tables, holds
from selftaught_assets.method.pairs import TEMPLATE_LEFTOVER
from selftaught_assets.method.ratings import HIGHEST, LOWEST
from selftaught_assets.method.texts import is_empty, normalized_instruction, with_single_spaces
from selftaught_assets.recipe import Recipe

MEAN = "expect_column_mean_to_be_between"
ROW_COUNT = "expect_table_row_count_to_be_between"


def suites_of(recipe: Recipe) -> list[Suite]:
    """All checks of a recipe's tables."""
    balance = response_balance(recipe) if recipe.judgments.form == "single" else label_balance(recipe)
    return [pair_validity(recipe), balance, *rows_accounted(recipe)]


def pair_validity(recipe: Recipe) -> Suite:
    """Kept pairs are what the label says: two real, different answers, one of them to a different instruction."""
    of = "kept pairs"
    return Suite(
        asset="pairs",
        name="pair_validity",
        purpose="A pair teaches only if its rejected response answers another instruction than the chosen one.",
        rows=_pairs,
        shown=("pair_id", "instruction_id", "instruction", "modified_instruction", "chosen", "rejected", "drop_reason"),
        rules=(
            Limit("valid_pairs", of, "the number of valid pairs", ROW_COUNT, low=1, where="kept"),
            Limit("valid_share", "pairs", "the share of valid pairs", MEAN, "kept", low=recipe.pairs.min_valid_share),
            holds("chosen_empty", of, "have an empty chosen response", "chosen_present", "kept"),
            holds("rejected_empty", of, "have an empty rejected response", "rejected_present", "kept"),
            holds("responses_equal", of, "have two equal responses", "responses_differ", "kept"),
            holds("modified_instruction_missing", of, "lack a modified instruction", "modified_present", "kept"),
            holds(
                "modified_instruction_unchanged", of, "repeat the instruction as the modified one", "modified", "kept"
            ),
            _no_template_in("chosen", "chosen response"),
            _no_template_in("rejected", "rejected response"),
            _no_template_in("modified_instruction", "modified instruction"),
        ),
    )


def label_balance(recipe: Recipe) -> Suite:
    """As many examples that say A as say B, so that the next judge does not learn to prefer a position."""
    low, high = (round(0.5 + sign * recipe.filter.label_tolerance, 6) for sign in (-1, 1))
    of = "kept examples"
    return Suite(
        asset="filtered_set",
        name="label_balance",
        purpose="A judge trained on more of one label learns to prefer a position.",
        rows=_examples,
        shown=("example_id", "judgment_id", "pair_id", "label", "split"),
        rules=(
            Limit("examples", of, "the number of examples to train on", ROW_COUNT, low=1, where="kept"),
            RowRule(
                "label_unknown",
                of,
                "have a label other than A and B",
                "expect_column_values_to_be_in_set",
                {"column": "label", "value_set": ["A", "B"]},
                where="kept",
            ),
            Limit("label_a_share", of, "the share of label A", MEAN, "is_a", low=low, high=high, where="kept"),
        ),
    )


def response_balance(recipe: Recipe) -> Suite:
    """The check of the same name where responses are rated one by one: winners and losers, in equal numbers."""
    low, high = (round(0.5 + sign * recipe.filter.label_tolerance, 6) for sign in (-1, 1))
    of = "kept examples"
    order = holds("winner_not_above", of, "rate the winner of their pair no higher than its loser", "ordered", "kept")
    return Suite(
        asset="filtered_set",
        name="label_balance",
        purpose="A judge trained on winners without their losers learns to rate everything alike.",
        rows=_rated_examples,
        shown=("example_id", "judgment_id", "pair_id", "label", "rating", "split"),
        rules=(
            Limit("examples", of, "the number of examples to train on", ROW_COUNT, low=1, where="kept"),
            RowRule(
                "rating_unknown",
                of,
                "have no rating from 1 to 10",
                "expect_column_values_to_be_in_set",
                {"column": "rating", "value_set": list(range(LOWEST, HIGHEST + 1))},
                where="kept",
            ),
            holds("pair_incomplete", of, "lack the other response of their pair", "complete", "kept"),
            *([order] if recipe.filter.keep == "correct" else []),
            Limit("chosen_share", of, "the share of winners", MEAN, "is_chosen", low=low, high=high, where="kept"),
        ),
    )


def _pairs(tables: Tables) -> pl.DataFrame:
    different = normalized_instruction("modified_instruction") != normalized_instruction("instruction")
    return tables["pairs"].with_columns(
        kept=pl.col("drop_reason").is_null(),
        chosen_present=~is_empty("chosen"),
        rejected_present=~is_empty("rejected"),
        responses_differ=with_single_spaces("chosen") != with_single_spaces("rejected"),
        modified_present=~is_empty("modified_instruction"),
        modified=different,
    )


def _no_template_in(column: str, text: str) -> RowRule:
    return RowRule(
        f"template_in_{column}",
        "kept pairs",
        f"have template text left in the {text}",
        "expect_column_values_to_not_match_regex",
        {"column": column, "regex": TEMPLATE_LEFTOVER},
        where="kept",
    )


def _examples(tables: Tables) -> pl.DataFrame:
    return tables["filtered_set"].with_columns(
        pl.col("label").fill_null("none"), kept=pl.col("drop_reason").is_null(), is_a=pl.col("label").eq_missing("A")
    )


def _rated_examples(tables: Tables) -> pl.DataFrame:
    """Every row with what it must hold together with the other response of its pair."""
    rows = tables["filtered_set"].with_columns(
        pl.col("rating").fill_null(0),  # No rule lets 0 pass.
        kept=pl.col("drop_reason").is_null(),
        is_chosen=pl.col("label").eq_missing("chosen"),
    )
    winner = pl.col("kept") & pl.col("is_chosen")
    loser = pl.col("kept") & pl.col("label").eq_missing("rejected")
    lowest = pl.col("rating").filter(winner).min().over("pair_id")
    highest = pl.col("rating").filter(loser).max().over("pair_id")
    return rows.with_columns(
        complete=(winner.sum().over("pair_id") == 1) & (loser.sum().over("pair_id") == 1),
        ordered=~pl.col("is_chosen") | (lowest > highest).fill_null(True),
    )
