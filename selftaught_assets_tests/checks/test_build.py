"""The checks inside real runs, where stand-ins with the assets' keys hand out planted tables.

Partitioned asset checks are a preview feature of Dagster 1.13: what is relied on is pinned here.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from upath import UPath

from selftaught_assets.assets.checks import DATA_DOCS, build_checks
from selftaught_assets.assets.family import TABLES, UNPARTITIONED, Family
from selftaught_assets.assets.io_manager import TableIOManager
from selftaught_assets.checks.project import build_docs
from selftaught_assets.checks.suites import instructions as suites_of_instructions
from selftaught_assets.checks.suites import suites_of
from selftaught_assets.method.instructions import benchmark_overlap
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.checks.tables import Tables, spoil, write_recipe

CHAIN = ("instruction_pool", "instructions", "pairs", "judgments", "filtered_set")
UPSTREAM = dict(zip(CHAIN[1:], CHAIN, strict=False))


class Runs:
    """Runs of stand-in assets and the real checks, on one instance and one folder of data."""

    def __init__(self, instance: dg.DagsterInstance, recipe: Recipe, folder: Path, tables: Tables) -> None:
        self.instance = instance
        self.family = Family(recipe, Layout(folder, recipe.name))
        self.tables = {partition: dict(tables) for partition in (None, "iteration_01", "iteration_02")}
        """By partition; tests plant their faults here."""
        self._resources = {TABLES: TableIOManager(base_path=UPath(folder))}

    def run(self, *assets: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
        selection = dg.AssetSelection.assets(*(self.family.key(name) for name in assets))
        names = self.tables[None]
        definitions = dg.Definitions(
            assets=[self._stand_in(name) for name in names],
            asset_checks=build_checks(self.family),
            jobs=[dg.define_asset_job("job", selection)],
            resources=self._resources,
        )
        job = definitions.resolve_job_def("job")
        return job.execute_in_process(instance=self.instance, partition_key=partition, raise_on_error=False)

    def _stand_in(self, name: str) -> dg.AssetsDefinition:
        upstream = [UPSTREAM[name]] if name in UPSTREAM else []

        @dg.asset(
            name=name,
            key_prefix=self.family.recipe.name,
            deps=[self.family.key(dep) for dep in upstream],
            partitions_def=None if name in UNPARTITIONED else self.family.partitions,
            io_manager_key=TABLES,
        )
        def stand_in(context: dg.AssetExecutionContext) -> pl.DataFrame:
            return self.tables[context.partition_key if context.has_partition_key else None][name]

        return stand_in


@pytest.fixture
def runs(recipe: Recipe, tables: Tables, tmp_path: Path):
    """Everything up to `instructions` lies there already."""
    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(instance, recipe, tmp_path, tables)
        for name, partition in product(("instruction_pool", "benchmarks", "instructions"), runs.tables):
            path = runs.family.layout.table(name, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            tables[name].write_parquet(path)
        yield runs


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]


def evaluations(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    found = result.get_asset_check_evaluations()
    return {(evaluation.asset_key.path[-1], evaluation.check_name): evaluation for evaluation in found}


def equal_responses(pairs: pl.DataFrame) -> pl.DataFrame:
    return spoil(pairs, 5, chosen="7 9", rejected="7 9")


def vanished_row(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.tail(-1)


@pytest.mark.parametrize(
    ("asset", "check", "plant", "later"),
    [
        ("pairs", "pair_validity", equal_responses, "judgments"),
        ("pairs", "rows_accounted", vanished_row, "judgments"),
    ],
)
def test_a_failing_check_stops_what_comes_later_in_the_run(
    asset: str, check: str, plant: Callable[[pl.DataFrame], pl.DataFrame], later: str, runs: Runs
):
    runs.tables["iteration_01"][asset] = plant(runs.tables["iteration_01"][asset])
    result = runs.run(asset, later, partition="iteration_01")
    assert not result.success
    assert materialized(result) == [asset]
    evaluation = evaluations(result)[asset, check]
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert len(evaluation.metadata["offending_rows"].records) == 1


def test_unbalanced_labels_stop_the_run(runs: Runs):
    tables = runs.tables["iteration_01"]
    assert runs.run("pairs", "judgments", partition="iteration_01").success
    kept_b = pl.col("drop_reason").is_null() & (pl.col("label") == "B")
    reason = pl.when(kept_b).then(pl.lit("not_drawn")).otherwise("drop_reason")
    tables["filtered_set"] = tables["filtered_set"].with_columns(drop_reason=reason)
    result = runs.run("filtered_set", partition="iteration_01")
    assert not result.success
    found = evaluations(result)
    assert not found["filtered_set", "label_balance"].passed
    assert found["filtered_set", "rows_accounted"].passed


def test_clean_tables_pass_every_check_in_one_step_for_each_asset(runs: Runs):
    stages = ("pairs", "judgments", "filtered_set", "evaluation")
    result = runs.run(*stages, partition="iteration_01")
    assert result.success
    assert sorted(materialized(result)) == sorted(stages)
    found = evaluations(result)
    assert all(evaluation.passed for evaluation in found.values())
    assert {asset for asset, check in found if check == "rows_accounted"} == set(stages)
    steps = {event.step_key for event in result.all_events if event.is_step_start}
    assert steps == {f"small__{stage}" for stage in stages} | {f"small__{stage}_checks" for stage in stages}


def test_a_check_sees_the_partition_that_its_run_makes(runs: Runs):
    """The fault is in the second iteration only: the first passes, before and after."""
    runs.tables["iteration_02"]["pairs"] = equal_responses(runs.tables["iteration_02"]["pairs"])
    outcomes = []
    for partition in ("iteration_01", "iteration_02", "iteration_01"):
        found = evaluations(runs.run("pairs", partition=partition))["pairs", "pair_validity"]
        outcomes.append((found.partition, found.passed))
    assert outcomes == [("iteration_01", True), ("iteration_02", False), ("iteration_01", True)]


def test_a_failing_check_of_one_partition_does_not_block_another(runs: Runs):
    """Characterization of Dagster 1.13, where partitioned checks are a preview: evaluations carry their partition, and
    each partition has its own state."""
    runs.tables["iteration_01"]["pairs"] = equal_responses(runs.tables["iteration_01"]["pairs"])
    assert not runs.run("pairs", "judgments", partition="iteration_01").success
    second = runs.run("pairs", "judgments", partition="iteration_02")
    assert second.success
    assert materialized(second) == ["pairs", "judgments"]
    key = dg.AssetCheckKey(runs.family.key("pairs"), "pair_validity")
    records = runs.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    statuses = {record.partition: record.status.value for record in records}
    assert statuses == {"iteration_01": "FAILED", "iteration_02": "SUCCEEDED"}


def test_a_broken_warning_shows_and_does_not_stop_the_run(runs: Runs):
    """The same run as with a broken critical rule above, but what is planted only warns."""
    refusal = pl.lit("I'm sorry, but I can't help with that.")
    pairs = runs.tables["iteration_01"]["pairs"].with_columns(rejected=refusal)
    runs.tables["iteration_01"]["pairs"] = pairs
    result = runs.run("pairs", "judgments", partition="iteration_01")
    evaluation = evaluations(result)["pairs", "refusals"]
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.partition == "iteration_01"
    assert len(evaluation.metadata["offending_rows"].records) == 10
    assert result.success
    assert materialized(result) == ["pairs", "judgments"]


def test_unpartitioned_tables_are_checked_too(runs: Runs):
    runs.tables[None]["instruction_pool"] = vanished_row(runs.tables[None]["instruction_pool"])
    result = runs.run("instruction_pool", "seed_evaluation")
    found = evaluations(result)
    assert not found["instruction_pool", "rows_accounted"].passed
    assert found["seed_evaluation", "rows_accounted"].passed


def test_metadata_holds_plain_numbers_under_one_name_each(runs: Runs):
    found = evaluations(runs.run("pairs", partition="iteration_01"))["pairs", "pair_validity"]
    types = {name: type(entry.value) for name, entry in found.metadata.items() if name != DATA_DOCS}
    assert types.pop("valid_share") is types.pop("valid_share_min") is float
    assert set(types.values()) == {int}


def test_what_great_expectations_found_is_kept_and_its_page_is_named(runs: Runs):
    found = evaluations(runs.run("pairs", partition="iteration_01"))["pairs", "refusals"]
    layout = runs.family.layout
    page = layout.data_docs / "index.html"
    assert page.as_uri() in found.metadata[DATA_DOCS].value
    assert "public CDNs" in found.metadata[DATA_DOCS].value
    kept = json.loads(layout.validation("pairs", "iteration_01").read_text(encoding="utf-8"))
    checks = {result["expectation_config"]["meta"]["check"] for result in kept["results"]}
    assert checks == {suite.name for suite in suites_of(runs.family.recipe) if suite.asset == "pairs"}
    assert build_docs(layout) == page
    assert page.is_file()


def test_two_severities_of_one_suite_make_its_rows_once(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def counted(*arguments: Any) -> pl.DataFrame:
        calls.append(1)
        return benchmark_overlap(*arguments)

    monkeypatch.setattr(suites_of_instructions, "benchmark_overlap", counted)
    found = evaluations(runs.run("instruction_pool"))
    checks = ("no_benchmark_overlap", "no_benchmark_overlap_warnings")
    assert all(found["instruction_pool", check].passed for check in checks)
    assert len(calls) == 1


def test_specs_block_where_they_are_an_error_and_are_partitioned_and_described(recipe: Recipe, tmp_path: Path):
    family = Family(recipe, Layout(tmp_path, recipe.name))
    suites = {(suite.asset, suite.name): suite for suite in suites_of(recipe)}
    specs = [spec for check in build_checks(family) for spec in check.check_specs]
    assert len(specs) == len(suites_of(recipe))
    for spec in specs:
        suite = suites[spec.asset_key.path[-1], spec.name]
        assert spec.blocking is any(rule.severity == "critical" for rule in suite.rules)
        assert spec.partitions_def == (None if spec.asset_key.path[-1] in UNPARTITIONED else family.partitions)
        assert spec.description.startswith(suite.description)


def test_a_pool_that_can_no_longer_be_read_fails_in_one_sentence(tables: Tables, tmp_path: Path):
    recipe = write_recipe(tmp_path)
    recipe.pool.path.write_text("not json\n", encoding="utf-8")
    with dg.DagsterInstance.ephemeral() as instance:
        result = Runs(instance, recipe, tmp_path, tables).run("instruction_pool")
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data.description.startswith(f"{recipe.pool.path}, line 1: not valid JSON")


def test_two_recipes_stand_side_by_side(recipe: Recipe, tmp_path: Path):
    families = [Family(r, Layout(tmp_path, r.name)) for r in (recipe, recipe.model_copy(update={"name": "other"}))]
    checks: list[Any] = [check for family in families for check in build_checks(family)]
    names = [check.node_def.name for check in checks]
    assert len(set(names)) == len(names) == 2 * len({suite.asset for suite in suites_of(recipe)})


def test_building_the_checks_does_not_import_great_expectations():
    program = "import sys, selftaught_assets.checks; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
