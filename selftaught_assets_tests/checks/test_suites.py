"""Every rule of every suite, both ways: it finds nothing in clean tables, and it names the row that is spoiled."""

from collections.abc import Callable
from typing import NamedTuple

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.checks.results import check_result
from selftaught_assets.checks.rules import Limit, RowRule, Suite
from selftaught_assets.checks.suites import suites_of
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks.tables import Tables, changed, first_kept, make_tables, spoil, without, write_recipe

ROW = 5


class Fault(NamedTuple):
    """How to break one rule, and the id by which the check must name the row."""

    asset: str
    check: str
    rule: str
    plant: Callable[[Tables], Tables]
    column: str
    id_of: Callable[[Tables], object]


def result_of(recipe: Recipe, tables: Tables, asset: str, check: str) -> dg.AssetCheckResult:
    (suite,) = [suite for suite in suites_of(recipe) if (suite.asset, suite.name) == (asset, check)]
    return check_result(suite, suite.rows(tables), dg.AssetKey(asset))


def value(result: dg.AssetCheckResult, name: str) -> object:
    return result.metadata[name].value


def offenders(result: dg.AssetCheckResult, rule: str, column: str) -> list[str]:
    records = [record.data for record in result.metadata["offending_rows"].records]
    return [record[column] for record in records if record["rule"] == rule]


def pair_fault(rule: str, **values: str | None) -> Fault:
    def plant(tables: Tables) -> Tables:
        return changed(tables, "pairs", lambda pairs: spoil(pairs, ROW, **values))

    return Fault("pairs", "pair_validity", rule, plant, "pair_id", lambda tables: tables["pairs"]["pair_id"][ROW])


def account_faults(asset: str, id: str) -> list[Fault]:
    """A row vanished, a row came from nowhere, a row twice, a row dropped without a known reason."""

    def fault(rule: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Fault:
        def plant(tables: Tables) -> Tables:
            return changed(tables, asset, change)

        return Fault(asset, "rows_accounted", rule, plant, id, lambda tables: tables[asset][id][ROW])

    def repeat(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame, frame[[ROW]]])

    def drop_for_nothing(frame: pl.DataFrame) -> pl.DataFrame:
        reason = pl.lit(None, dtype=pl.String).alias("drop_reason")
        return spoil(frame if "drop_reason" in frame.columns else frame.with_columns(reason), ROW, drop_reason="")

    faults = [
        fault("rows_missing", lambda frame: without(frame, ROW)),
        fault("rows_unexpected", repeat),
        fault("reasons_unknown", drop_for_nothing),
    ]
    return [*faults, fault("ids_repeated", repeat)] if asset in ASSETS_WITH_IDS else faults


ASSETS_WITH_IDS = ("pairs", "judgments", "filtered_set")
KEYS = {
    "instruction_pool": "line",
    "instructions": "line",
    "pairs": "instruction_id",
    "judgments": "pair_id",
    "filtered_set": "judgment_id",
    "evaluation": "item_id",
    "seed_evaluation": "item_id",
}

FAULTS = [
    pair_fault("chosen_empty", chosen=" \n"),
    pair_fault("chosen_empty", chosen=None),
    pair_fault("rejected_empty", rejected=""),
    pair_fault("rejected_empty", rejected=None),
    pair_fault("responses_equal", chosen="a  b", rejected=" a b"),
    pair_fault("modified_instruction_missing", modified_instruction="  "),
    pair_fault("modified_instruction_missing", modified_instruction=None),
    pair_fault("modified_instruction_unchanged", instruction="Sort  THIS", modified_instruction="sort this "),
    pair_fault("template_in_chosen", chosen="ok <|im_end|>"),
    pair_fault("template_in_rejected", rejected="ok [[response]]"),
    pair_fault("template_in_modified_instruction", modified_instruction="{{ instruction }}"),
    Fault(
        "filtered_set",
        "label_balance",
        "label_unknown",
        lambda tables: changed(tables, "filtered_set", lambda frame: spoil(frame, first_kept(frame), label=None)),
        "example_id",
        lambda tables: tables["filtered_set"]["example_id"][first_kept(tables["filtered_set"])],
    ),
    *(fault for asset, key in KEYS.items() for fault in account_faults(asset, key)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.asset}-{fault.rule}")
def test_a_rule_names_the_row_that_breaks_it(fault: Fault, recipe: Recipe, tables: Tables):
    result = result_of(recipe, fault.plant(tables), fault.asset, fault.check)
    culprit = str(fault.id_of(tables))
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert value(result, fault.rule) == 1
    assert offenders(result, fault.rule, fault.column) == [culprit]
    assert f"({fault.column} {culprit}" in result.description


def test_every_rule_about_rows_has_a_planted_fault(recipe: Recipe):
    rules = {
        (suite.name, rule.name) for suite in suites_of(recipe) for rule in suite.rules if isinstance(rule, RowRule)
    }
    assert rules == {(fault.check, fault.rule) for fault in FAULTS}


SUITES = [
    *(("pairs", "pair_validity"), ("filtered_set", "label_balance")),
    *((asset, "rows_accounted") for asset in (*KEYS, "benchmarks")),
]


def test_every_table_has_its_checks(recipe: Recipe):
    assert sorted((suite.asset, suite.name) for suite in suites_of(recipe)) == sorted(SUITES)


@pytest.mark.parametrize(("asset", "check"), SUITES)
def test_a_clean_table_passes_and_says_zero_of_n(asset: str, check: str, recipe: Recipe, tables: Tables):
    (suite,) = [suite for suite in suites_of(recipe) if (suite.asset, suite.name) == (asset, check)]
    result = result_of(recipe, tables, asset, check)
    assert result.passed
    assert result.description.startswith("0 of ")
    assert "offending_rows" not in result.metadata
    for rule in suite.rules:
        assert value(result, rule.name) == 0 or isinstance(rule, Limit)


def test_rows_at_fault_that_are_dropped_already_are_no_fault(recipe: Recipe, tables: Tables):
    """The third pair has two equal responses, and the reason why nobody reads it."""
    assert tables["pairs"]["drop_reason"][2] == "responses_equal"
    result = result_of(recipe, tables, "pairs", "pair_validity")
    assert value(result, "responses_equal") == 0
    assert value(result, "valid_pairs") == 29


def test_too_few_valid_pairs_fail_with_the_share_the_threshold_and_dropped_pairs(recipe: Recipe, tables: Tables):
    rows = pl.int_range(pl.len())
    spoiled = changed(
        tables,
        "pairs",
        lambda pairs: pairs.with_columns(
            drop_reason=pl.when(rows >= 12).then(pl.lit("truncated")).otherwise("drop_reason")
        ),
    )
    result = result_of(recipe, spoiled, "pairs", "pair_validity")
    assert not result.passed
    assert value(result, "valid_share") == pytest.approx(11 / 30)
    assert value(result, "valid_share_min") == 0.5
    assert result.description == "The share of valid pairs among 30 pairs is 0.366667 (at least 0.5 is demanded)."
    assert len(offenders(result, "valid_share", "pair_id")) == 10
    assert {record.data["drop_reason"] for record in result.metadata["offending_rows"].records} == {
        "responses_equal",
        "truncated",
    }


def test_the_threshold_of_valid_pairs_is_the_recipes(tmp_path, tables: Tables):
    strict = write_recipe(tmp_path, pairs={"min_valid_share": 0.97})
    assert not result_of(strict, tables, "pairs", "pair_validity").passed


def test_no_valid_pair_at_all_fails_in_one_sentence(tmp_path, tables: Tables):
    lenient = write_recipe(tmp_path, pairs={"min_valid_share": 0})
    spoiled = changed(tables, "pairs", lambda pairs: pairs.with_columns(drop_reason=pl.lit("truncated")))
    result = result_of(lenient, spoiled, "pairs", "pair_validity")
    assert not result.passed
    assert result.description == "The number of valid pairs is 0 (at least 1 is demanded)."


def labels(a: int, b: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A filtered set of kept examples only, with so many of each label."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        template = frame.filter(pl.col("drop_reason").is_null())[[0] * (a + b)]
        names = pl.int_range(pl.len()).cast(pl.String)
        return template.with_columns(label=pl.Series(["A"] * a + ["B"] * b, dtype=pl.String), example_id=names)

    return change


@pytest.mark.parametrize(("a", "b", "surplus"), [(60, 40, "A"), (40, 60, "B"), (53, 47, "A")])
def test_unbalanced_labels_fail_with_examples_of_the_more_frequent_one(
    a: int, b: int, surplus: str, recipe: Recipe, tables: Tables
):
    result = result_of(recipe, changed(tables, "filtered_set", labels(a, b)), "filtered_set", "label_balance")
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert value(result, "label_a_share") == pytest.approx(a / 100)
    assert result.description == (
        f"The share of label A among 100 kept examples is {a / 100:g} (between 0.48 and 0.52 is demanded)."
    )
    assert offenders(result, "label_a_share", "label") == [surplus] * 10


@pytest.mark.parametrize(("a", "b"), [(50, 50), (52, 48), (48, 52)])
def test_labels_within_the_tolerance_pass(a: int, b: int, recipe: Recipe, tables: Tables):
    assert result_of(recipe, changed(tables, "filtered_set", labels(a, b)), "filtered_set", "label_balance").passed


def test_no_example_at_all_fails_in_one_sentence(recipe: Recipe, tables: Tables):
    spoiled = changed(tables, "filtered_set", lambda frame: frame.with_columns(drop_reason=pl.lit("wrong_verdict")))
    result = result_of(recipe, spoiled, "filtered_set", "label_balance")
    assert not result.passed
    assert result.description == (
        "The number of examples to train on is 0 (at least 1 is demanded); the share of label A cannot be told, as "
        "there are no kept examples."
    )
    assert "label_a_share" not in result.metadata


def test_a_missing_benchmark_pair_is_named(recipe: Recipe, tables: Tables):
    spoiled = changed(tables, "benchmarks", lambda frame: without(frame, 1))
    result = result_of(recipe, spoiled, "benchmarks", "rows_accounted")
    assert offenders(result, "rows_missing", "item_id") == ["b2"]


@pytest.mark.parametrize("asset", ["instruction_pool", "instructions"])
def test_a_repeated_instruction_among_the_kept_ones_is_named(asset: str, recipe: Recipe, tables: Tables):
    """In the pool the last line repeats the first, which is no fault as long as it is dropped."""
    spoiled = changed(tables, asset, lambda frame: frame.with_columns(drop_reason=pl.lit(None, dtype=pl.String)))
    result = result_of(recipe, spoiled, asset, "rows_accounted")
    assert offenders(result, "ids_repeated", "instruction_id") == [tables[asset]["instruction_id"][0]]


def test_a_row_swapped_for_another_does_not_hide_behind_an_equal_count(recipe: Recipe, tables: Tables):
    spoiled = changed(tables, "pairs", lambda pairs: spoil(pairs, ROW, instruction_id="nobody"))
    result = result_of(recipe, spoiled, "pairs", "rows_accounted")
    assert value(result, "rows") == value(result, "rows_expected") == 30
    assert offenders(result, "rows_missing", "instruction_id") == [tables["pairs"]["instruction_id"][ROW]]
    assert offenders(result, "rows_unexpected", "instruction_id") == ["nobody"]


def test_the_account_adds_up_in_the_metadata(recipe: Recipe, tables: Tables):
    result = result_of(recipe, tables, "filtered_set", "rows_accounted")
    dropped = sum(entry.value for name, entry in result.metadata.items() if name.startswith("dropped_"))
    assert value(result, "rows_expected") == value(result, "rows") == value(result, "rows_kept") + dropped == 29 * 3


def test_judging_both_positions_expects_twice_the_judgments(tmp_path):
    both = write_recipe(tmp_path, judgments={"n": 3, "positions": "both"})
    tables = make_tables(both)
    assert result_of(both, tables, "judgments", "rows_accounted").passed
    half = changed(tables, "judgments", lambda frame: frame.filter(pl.col("chosen_position") == "A"))
    assert value(result_of(both, half, "judgments", "rows_accounted"), "rows_missing") == 29 * 3


def test_a_judgment_after_the_one_that_ends_the_search_is_unexpected(recipe: Recipe, tables: Tables, tmp_path):
    pair = tables["judgments"]["pair_id"][0]
    first = (pl.col("pair_id") == pair) & (pl.col("sample_index") == 0)
    spoiled = changed(tables, "judgments", lambda frame: frame.with_columns(is_correct=pl.col("is_correct") | first))
    result = result_of(recipe, spoiled, "judgments", "rows_accounted")
    assert offenders(result, "rows_unexpected", "pair_id") == [pair, pair]
    every = write_recipe(tmp_path, judgments={"n": 3, "stop": "never"})
    assert result_of(every, spoiled, "judgments", "rows_accounted").passed


def test_a_search_that_ended_without_a_right_judgment_lacks_rows(recipe: Recipe, tables: Tables):
    pair = tables["judgments"]["pair_id"][0]
    last = (pl.col("pair_id") == pair) & (pl.col("sample_index") == 2)
    spoiled = changed(tables, "judgments", lambda frame: frame.filter(~last))
    assert offenders(result_of(recipe, spoiled, "judgments", "rows_accounted"), "rows_missing", "pair_id") == [pair]


def test_the_description_of_a_check_is_made_of_its_rules(recipe: Recipe):
    for suite in suites_of(recipe):
        assert suite.description.splitlines() == [suite.purpose, *(f"- {rule.claim}" for rule in suite.rules)]


def test_a_broken_warning_does_not_have_the_severity_that_stops_a_run(tables: Tables):
    rule = Limit("share", "pairs", "the share", "expect_column_mean_to_be_between", "no", low=0.5, severity="warning")
    suite = Suite(
        asset="pairs",
        name="a_warning",
        purpose="Why.",
        rules=(rule,),
        rows=lambda tables: tables["pairs"].with_columns(no=pl.lit(False)),
        shown=("pair_id",),
    )
    result = check_result(suite, suite.rows(tables), dg.AssetKey("pairs"))
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN


def test_long_texts_are_shortened_and_at_most_ten_rows_are_shown(recipe: Recipe, tables: Tables):
    spoiled = changed(
        tables, "pairs", lambda pairs: pairs.with_columns(chosen=pl.lit("word " * 500), rejected=pl.lit("word " * 500))
    )
    result = result_of(recipe, spoiled, "pairs", "pair_validity")
    assert value(result, "responses_equal") == 29
    records = [record.data for record in result.metadata["offending_rows"].records]
    assert len(records) == 10
    assert all(len(record["chosen"]) == 160 and record["chosen"].endswith("…") for record in records)
    first = ", ".join(record["pair_id"] for record in records[:3])
    assert result.description == f"29 of 29 kept pairs have two equal responses (pair_id {first}, …)."


def test_a_rule_that_cannot_be_applied_is_an_error_and_no_verdict(tables: Tables):
    rule = RowRule(
        "broken", "pairs", "break", "expect_column_values_to_match_regex", {"column": "chosen", "regex": "("}
    )
    suite = Suite("pairs", "broken", "Why.", (rule,), lambda tables: tables["pairs"], ("pair_id",))
    with pytest.raises(RuntimeError, match="could not apply the rule broken"):
        check_result(suite, suite.rows(tables), dg.AssetKey("pairs"))
