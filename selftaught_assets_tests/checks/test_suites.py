"""What holds for all suites: silent on what is clean, every rule proven by a fault, thresholds from the recipe."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.checks.results import check_result, validate
from selftaught_assets.checks.rules import Estimate, RowRule, Rule, Subject, Suite, estimated, holds, matching, share
from selftaught_assets.checks.suites import suites_of
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks import test_accounts
from selftaught_assets_tests.checks.suites import (
    test_benchmarks,
    test_checkpoint,
    test_evaluation,
    test_filtered_set,
    test_instructions,
    test_judge,
    test_judgments,
    test_pairs,
)
from selftaught_assets_tests.checks.tables import write_recipe
from selftaught_assets_tests.checks.world import FIRST, SECOND, World, in_all, offenders, value
from selftaught_assets_tests.conftest import ROOT

PROOFS: tuple[ModuleType, ...] = (
    test_accounts,
    test_benchmarks,
    test_checkpoint,
    test_evaluation,
    test_filtered_set,
    test_instructions,
    test_judge,
    test_judgments,
    test_pairs,
)

OF_INSTRUCTIONS = {
    "usable_text",
    "usable_text_warnings",
    "category_share",
    "no_benchmark_overlap",
    "no_benchmark_overlap_warnings",
    "rows_accounted",
}
CHECKS = {
    "instruction_pool": OF_INSTRUCTIONS | {"few_repetitions"},
    "benchmarks": {"labels_read", "rows_accounted"},
    "instructions": OF_INSTRUCTIONS | {"count_reached"},
    "pairs": {
        "pair_validity",
        "construction_yield",
        "near_duplicates",
        "modification_similarity",
        "length_bias",
        "surface_signs",
        "refusals",
        "strategy_share",
        "rows_accounted",
    },
    "judge": {"is_predecessor", "is_predecessor_warnings"},
    "judgments": {
        "judgment_quality",
        "position_bias",
        "kept_pairs_sampled",
        "kept_pairs_sampled_warnings",
        "verdicts_reparsed",
        "rows_accounted",
    },
    "filtered_set": {
        "label_balance",
        "one_example_per_pair",
        "splits_apart",
        "smallest_size",
        "length_by_label",
        "diversity",
        "label_not_leaked",
        "rows_accounted",
    },
    "checkpoint": {"loss", "loss_warnings", "weights", "weights_warnings", "digest"},
    "evaluation": {"beyond_chance", "invalid_share", "not_worse", "overfit_gap", "rows_accounted"},
    "seed_evaluation": {"beyond_chance", "invalid_share", "rows_accounted"},
}
ALL = [(asset, check) for asset, checks in CHECKS.items() for check in sorted(checks)]


def test_every_asset_has_its_checks(recipe: Recipe):
    assert sorted((suite.asset, suite.name) for suite in suites_of(recipe)) == sorted(ALL)


def test_every_rule_has_a_planted_fault(recipe: Recipe):
    """But for the account of `benchmarks`, which is the code of the others; a test of its own misses a pair there."""
    rules = {
        (suite.asset, suite.name, rule.name)
        for suite in suites_of(recipe)
        for rule in suite.rules
        if (suite.asset, suite.name) != ("benchmarks", "rows_accounted")
    }
    assert {(fault.asset, fault.check, fault.rule) for module in PROOFS for fault in module.FAULTS} == rules


@pytest.mark.parametrize(("asset", "check"), ALL)
def test_what_is_clean_passes_and_the_check_says_zero_of_n(asset: str, check: str, world: World):
    result = world.result(asset, check)
    assert result.passed
    assert result.description.startswith("0 of ")
    assert "offending_rows" not in result.metadata
    for rule in world.suite(asset, check).rules:
        if isinstance(rule, RowRule):
            assert value(result, rule.name) == 0


def test_the_judge_of_a_later_iteration_passes_too(world: World):
    assert world.result("judge", "is_predecessor", SECOND).passed


def test_the_description_of_a_check_is_made_of_its_rules(recipe: Recipe):
    for suite in suites_of(recipe):
        assert suite.description.splitlines() == [suite.purpose, *(f"- {rule.claim}" for rule in suite.rules)]


def test_numbers_of_all_checks_are_plain_json(world: World):
    """NumPy's numbers and nan would break the page that shows them."""
    for asset, check in ALL:
        for name, entry in world.result(asset, check).metadata.items():
            if name != "offending_rows":
                assert type(entry.value) in (int, float), (asset, check, name)
                json.dumps(entry.value, allow_nan=False)


def test_rows_at_fault_that_are_dropped_already_are_no_fault(world: World):
    """The third pair has two equal responses, and the reason why nobody reads it."""
    assert world.tables["pairs"]["drop_reason"][2] == "responses_equal"
    result = world.result("pairs", "pair_validity")
    assert value(result, "responses_equal") == 0
    assert value(result, "valid_pairs") == 29


@pytest.mark.parametrize(
    ("sections", "asset", "check"),
    [
        ({"pairs": {"min_valid_share": 0.99}}, "pairs", "pair_validity"),
        ({"checks": {"min_train_examples": 1000}}, "filtered_set", "smallest_size"),
        ({"checks": {"max_similarity": 0.3}}, "pairs", "modification_similarity"),
        ({"checks": {"min_distinct": 1}}, "filtered_set", "diversity"),
        ({"checks": {"max_correct_share": 0.2, "min_correct_share": 0.1}}, "judgments", "judgment_quality"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_thresholds_are_the_recipes(
    sections: dict[str, dict[str, float]], asset: str, check: str, world: World, tmp_path: Path
):
    assert world.result(asset, check).passed
    assert not replace(world, recipe=write_recipe(tmp_path, **sections)).result(asset, check).passed


def test_long_texts_are_shortened_and_at_most_ten_rows_are_shown(world: World):
    spoiled = in_all("pairs", chosen=pl.lit("word " * 500), rejected=pl.lit("word " * 500))(world)
    result = spoiled.result("pairs", "pair_validity")
    assert value(result, "responses_equal") == 29
    records = [record.data for record in result.metadata["offending_rows"].records]
    assert len(records) == 10
    assert all(len(record["chosen"]) == 160 and record["chosen"].endswith("…") for record in records)
    first = ", ".join(record["pair_id"] for record in records[:3])
    assert result.description == f"29 of 29 kept pairs have two equal responses (pair_id {first}, …)."


def applied(suite: Suite, rows: pl.DataFrame) -> dg.AssetCheckResult:
    return check_result(suite, rows, validate(suite, rows).findings, dg.AssetKey("pairs"))


def suite_of(*rules: Rule, rows: pl.DataFrame) -> dg.AssetCheckResult:
    return applied(Suite("pairs", "made_up", "Why.", rules, lambda subject: rows, ("id",)), rows)


ROWS = pl.DataFrame({"id": ["a", "b", "c", "d"], "yes": [True, True, None, False], "all": [True] * 4})


def test_rules_of_two_severities_are_two_checks_of_the_same_rows():
    light = holds("light", "rows", "are odd", "yes", severity="warning")
    grave, graver = (holds(name, "rows", "are bad", "all") for name in ("grave", "graver"))
    suite = Suite("pairs", "made_up", "Why.", (grave, light, graver), lambda subject: ROWS, ("id",))
    stops, shows = suite.by_severity()
    assert (stops.name, stops.rules, stops.can_stop) == ("made_up", (grave, graver), True)
    assert (shows.name, shows.rules, shows.can_stop) == ("made_up_warnings", (light,), False)
    assert stops.rows is shows.rows is suite.rows
    assert [applied(part, ROWS).passed for part in (stops, shows)] == [True, False]


def test_every_check_is_of_one_severity_and_says_so_where_it_fails(recipe: Recipe):
    for suite in suites_of(recipe):
        assert len({rule.severity for rule in suite.rules}) == 1, suite.name
    for severity, said in (("critical", dg.AssetCheckSeverity.ERROR), ("warning", dg.AssetCheckSeverity.WARN)):
        result = suite_of(holds("odd", "rows", "are odd", "yes", severity=severity), rows=ROWS)
        assert result.severity == said
        assert offenders(result, "odd", "id") == ["c", "d"]


def test_a_share_leaves_out_what_is_not_known_and_shows_its_interval():
    result = suite_of(share("yes_share", "rows", "the share of yes", "yes", high=0.2), rows=ROWS)
    assert value(result, "yes_share") == pytest.approx(2 / 3)
    assert value(result, "yes_share_n") == 3
    assert value(result, "yes_share_low") == pytest.approx(0.2077, abs=1e-4)
    assert not result.passed
    assert offenders(result, "yes_share", "id") == ["a", "b"]
    assert "is 0.6667 (95 % 0.2077 to 0.9385; at most 0.2 is required)" in result.description
    assert suite_of(share("yes_share", "rows", "the share of yes", "yes", high=0.21), rows=ROWS).passed


@pytest.mark.parametrize(
    ("estimate", "passes"),
    [
        (Estimate(0.5, 0.4, 0.6, 9), True),
        (Estimate(0.1, 0.0, 0.31, 9), True),
        (Estimate(0.1, 0.0, 0.29, 9), False),
        (Estimate(0.9, 0.71, 1.0, 9), False),
        (Estimate(0.9, 0.69, 1.0, 9), True),
        (None, True),
    ],
)
def test_an_estimate_breaks_its_bounds_only_with_its_whole_interval(estimate: Estimate | None, passes: bool):
    rule = estimated("number", "rows", "the number", lambda rows: estimate, low=0.3, high=0.7)
    assert suite_of(rule, rows=ROWS).passed == passes


def test_a_rule_that_cannot_be_applied_is_an_error_and_no_verdict(world: World):
    rule = RowRule("broken", "pairs", "break", (matching("chosen", "("),))
    suite = Suite("pairs", "broken", "Why.", (rule,), lambda subject: subject.tables["pairs"], ("pair_id",))
    with pytest.raises(RuntimeError, match="could not apply the rule broken"):
        validate(suite, suite.rows(Subject(world.tables, world.layout, FIRST)))


def test_no_check_is_missing_in_the_guide(recipe: Recipe):
    guide = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for suite in suites_of(recipe):
        assert f"`{suite.name}`" in guide, suite.name


def test_every_threshold_is_in_the_guide(recipe: Recipe):
    guide = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for name in type(recipe.checks).model_fields:
        assert f"`{name}`" in guide, name
