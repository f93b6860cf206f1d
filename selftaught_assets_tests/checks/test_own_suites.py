"""A user's own suite of Great Expectations: applied as it stands in the file, blocking or not, without code."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from selftaught_assets.checks.suites import IDS, suites_of
from selftaught_assets.definitions import build_definitions
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import Recipe
from selftaught_assets.staleness import STAGES, basis_of
from selftaught_assets_tests.checks.tables import Tables, first_kept, spoil, write_recipe
from selftaught_assets_tests.checks.test_build import Runs, evaluations, materialized
from selftaught_assets_tests.checks.world import World, offenders, value

NOT_LONG = {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "chosen", "max_value": 200}}
NO_APPLES = {
    "type": "expect_column_values_to_not_match_regex",
    "kwargs": {
        "column": "rejected",
        "regex": "(?i)pineapple",
        "row_condition": {"type": "nullity", "column": {"name": "drop_reason"}, "is_null": True},
    },
}
SEVERAL = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "sample_index", "max_value": 0.1}}


def write_suite(folder: Path, *expectations: Any, name: str = "house style") -> Path:
    path = folder / "my_suite.json"
    path.write_text(json.dumps({"name": name, "expectations": list(expectations), "meta": {}}), encoding="utf-8")
    return path


def with_suite(world: World, folder: Path, *expectations: Any, table: str = "pairs", **options: bool) -> World:
    suite = {"path": str(write_suite(folder, *expectations)), **options}
    return replace(world, recipe=write_recipe(folder, checks={"suites": {table: suite}}))


def fault_of_style(pairs: pl.DataFrame) -> pl.DataFrame:
    return spoil(pairs, first_kept(pairs), rejected="A Pineapple a day")


def test_a_planted_fault_is_caught_with_its_row(world: World, tmp_path: Path):
    own = with_suite(world, tmp_path, NOT_LONG, NO_APPLES)
    clean = own.result("pairs", "house_style")
    assert clean.passed
    assert clean.description == "0 of 29 rows fail."
    spoiled = own.changed("pairs", fault_of_style)
    result = spoiled.result("pairs", "house_style")
    pair = world.tables["pairs"]["pair_id"][first_kept(world.tables["pairs"])]
    rule = "expect_column_values_to_not_match_regex(rejected)"
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert value(result, rule) == 1
    assert offenders(result, rule, "pair_id") == [pair]
    assert result.description == f"1 of 29 rows fail {rule} (pair_id {pair})."


def test_a_number_that_does_not_hold_is_told(world: World, tmp_path: Path):
    result = with_suite(world, tmp_path, SEVERAL, table="judgments").result("judgments", "house_style")
    assert not result.passed
    rule = "expect_column_mean_to_be_between(sample_index)"
    assert result.description == f"{rule.capitalize()} does not hold: {value(result, rule)} was observed."


def test_a_distinct_value_that_may_not_be_is_told(world: World, tmp_path: Path):
    """GX tells no rows of such an expectation."""
    only_a = {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "verdict", "value_set": ["A"]}}
    result = with_suite(world, tmp_path, only_a, table="judgments").result("judgments", "house_style")
    assert not result.passed
    assert result.description == (
        "Expect_column_distinct_values_to_be_in_set(verdict) does not hold: ['B'] was observed."
    )


def test_a_row_that_is_dropped_is_no_fault_where_the_suite_says_so(world: World, tmp_path: Path):
    """GX's own condition in the user's file: the third pair is dropped."""
    own = with_suite(world, tmp_path, NO_APPLES)
    spoiled = own.changed("pairs", lambda pairs: spoil(pairs, 2, rejected="pineapple"))
    assert spoiled.result("pairs", "house_style").passed


def test_a_suite_that_does_not_block_only_warns(world: World, tmp_path: Path):
    own = with_suite(world, tmp_path, NO_APPLES, blocking=False).changed("pairs", fault_of_style)
    assert own.result("pairs", "house_style").severity == dg.AssetCheckSeverity.WARN
    assert not own.suite("pairs", "house_style").can_stop


def test_expectations_of_two_severities_are_two_checks(world: World, tmp_path: Path):
    own = with_suite(world, tmp_path, NOT_LONG, NO_APPLES | {"severity": "warning"}).changed("pairs", fault_of_style)
    assert own.result("pairs", "house_style").passed
    warned = own.result("pairs", "house_style_warnings")
    assert not warned.passed
    assert warned.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize("table", IDS)
def test_every_table_can_be_looked_at(table: str, world: World, tmp_path: Path):
    rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10_000}}
    result = with_suite(world, tmp_path, rows, table=table).result(table, "house_style")
    found = world.tables[table].height
    assert result.description == f"Expect_table_row_count_to_be_between does not hold: {found} was observed."


@pytest.mark.parametrize(
    ("expectation", "sentence"),
    [
        ({"type": "expect_nonsense"}, "Expect_nonsense cannot be applied: expect_nonsense not found."),
        (
            {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "colour"}},
            'Expect_column_values_to_be_unique(colour) cannot be applied: the column "colour" in BatchData does not ',
        ),
        (
            {"type": "expect_column_values_to_be_unique", "kwargs": {"columns": "chosen"}},
            "Expect_column_values_to_be_unique cannot be applied: ",
        ),
        (
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": [{}, 5]}},
            "Expect_compound_columns_to_be_unique cannot be applied: ",
        ),
        (
            {"type": "expect_table_row_count_to_equal", "kwargs": {"value": {"$PARAMETER": "rows"}}},
            "Expect_table_row_count_to_equal cannot be applied: no value found for $PARAMETER rows",
        ),
    ],
)
def test_what_cannot_be_applied_fails_with_one_sentence(
    expectation: dict[str, Any], sentence: str, world: World, tmp_path: Path
):
    result = with_suite(world, tmp_path, expectation, NOT_LONG).result("pairs", "house_style")
    assert not result.passed
    assert result.description.startswith(sentence)
    assert "\n" not in result.description


@pytest.mark.parametrize("blocking", [True, False])
def test_in_a_run_it_blocks_or_only_shows(blocking: bool, tables: Tables, tmp_path: Path):
    suite = {"path": str(write_suite(tmp_path, NO_APPLES)), "blocking": blocking}
    recipe = write_recipe(tmp_path, checks={"suites": {"pairs": suite}, "min_train_examples": 5})
    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(instance, recipe, tmp_path / "data", tables)
        stored = runs.family.layout.table("instructions", "iteration_01")
        stored.parent.mkdir(parents=True)
        tables["instructions"].write_parquet(stored)
        runs.tables["iteration_01"]["pairs"] = fault_of_style(tables["pairs"])
        result = runs.run("pairs", "judgments", partition="iteration_01")
    assert not evaluations(result)["pairs", "house_style"].passed
    assert evaluations(result)["pairs", "pair_validity"].passed
    assert materialized(result) == (["pairs"] if blocking else ["pairs", "judgments"])
    assert result.success is not blocking


def recipe_with(small_recipe: Any, folder: Path, content: str, name: str = "suite.json") -> Recipe:
    (folder / name).write_text(content, encoding="utf-8")
    return small_recipe(checks={"suites": {"pairs": name}})


def test_its_path_is_relative_to_the_recipe(small_recipe: Any, tmp_path: Path):
    write_suite(tmp_path, NOT_LONG)
    recipe = small_recipe(checks={"suites": {"pairs": "my_suite.json"}})
    assert recipe.checks.suites["pairs"].path == tmp_path / "my_suite.json"
    assert recipe.checks.suites["pairs"].blocking
    assert ("pairs", "house_style") in [(suite.asset, suite.name) for suite in suites_of(recipe)]


def test_a_byte_order_mark_is_no_part_of_it(small_recipe: Any, tmp_path: Path):
    content = json.dumps({"name": "house style", "expectations": [NOT_LONG]})
    recipe = recipe_with(small_recipe, tmp_path, f"\ufeff{content}")
    assert ("pairs", "house_style") in [(suite.asset, suite.name) for suite in suites_of(recipe)]


def test_it_makes_nothing_stale(small_recipe: Any, tmp_path: Path):
    plain = small_recipe()
    write_suite(tmp_path, NOT_LONG)
    own = small_recipe(checks={"suites": {"pairs": "my_suite.json"}})
    assert [basis_of(own, stage) for stage in STAGES] == [basis_of(plain, stage) for stage in STAGES]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not a JSON file"),
        ("[]", "is not a Great Expectations suite, which has a `name` and a list of `expectations`."),
        ('{"name": "a", "expectations": []}', "is not a Great Expectations suite"),
        ('{"expectations": [{"type": "x"}]}', "is not a Great Expectations suite"),
        ('{"name": "a", "expectations": [{"expectation_type": "x"}]}', "expectation 1 of"),
        (json.dumps({"name": "pair_validity", "expectations": [NOT_LONG]}), "give the suite another name"),
        (json.dumps({"name": " ", "expectations": [NOT_LONG]}), "is not a Great Expectations suite"),
        (
            json.dumps({"name": "a", "expectations": [NOT_LONG | {"severity": "fatal"}]}),
            "has the severity 'fatal', which is none of critical, warning, info.",
        ),
        ('{"name": "a", "name": "b", "expectations": []}', "the field 'name' occurs twice"),
        ("[" * 100_000, "is not a JSON file"),
    ],
)
def test_a_file_that_is_no_suite_gets_one_sentence(content: str, sentence: str, small_recipe: Any, tmp_path: Path):
    recipe = recipe_with(small_recipe, tmp_path, content)
    with pytest.raises(UserError, match=r"`checks\.suites\.pairs`") as error:
        build_definitions([recipe], data=tmp_path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("suites", "sentence"),
    [
        ({"pairs": "absent.json"}, "`checks.suites.pairs` names"),
        ({"colours": "absent.json"}, "`checks.suites.colours.[key]` is 'colours': input should be 'instruction_pool'"),
        ({"pairs": {"blocking": False}}, "field `checks.suites.pairs.path` is missing"),
    ],
)
def test_an_impossible_entry_gets_one_sentence(suites: dict[str, Any], sentence: str, small_recipe: Any):
    with pytest.raises(UserError) as error:
        small_recipe(checks={"suites": suites})
    assert sentence in str(error.value)


def test_the_example_of_the_guide_is_a_recipe_and_a_suite(small_recipe: Any, tmp_path: Path):
    from selftaught_assets_tests.conftest import ROOT

    guide = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    section = yaml.safe_load(guide.split("```yaml\n")[1].split("```")[0])
    for name in ("style.json", "benchmark.json"):
        (tmp_path / name).write_text(guide.split("```json\n")[1].split("```")[0], encoding="utf-8")
    recipe = small_recipe(**section)
    assert {suite.asset for suite in suites_of(recipe) if suite.name == "house_style"} == {"pairs", "benchmarks"}
