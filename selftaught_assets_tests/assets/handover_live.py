"""A real `dagster dev` with the small recipe, and what must hold of its backfills, launched as the UI does it.

What holds for both configurations of the instance is here; test_handover_shipped.py and test_handover_default.py apply
it to one each, in the order in which their tests stand.
"""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import yaml

from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.conftest import ROOT, write_small_recipe
from selftaught_assets_tests.dagster_dev import DagsterDev

ASSETS = ("instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint", "evaluation")
SOURCES = ("instruction_pool", "seed_model", "benchmarks", "seed_evaluation", "progress", "report")
ITERATIONS = ["iteration_01", "iteration_02", "iteration_03"]


@dataclass
class World:
    """A running Dagster with the small recipe."""

    dagster: DagsterDev
    instance: dg.DagsterInstance
    recipe: Path
    layout: Layout

    def change_training(self, learning_rate: float) -> None:
        content = yaml.safe_load(self.recipe.read_text())
        content["training"]["learning_rate"] = learning_rate
        self.recipe.write_text(yaml.safe_dump(content))
        self.dagster.reload()

    def backfill(self, names: tuple[str, ...], partitions: list[str]) -> str:
        return self.dagster.backfill([["small", name] for name in names], partitions)

    def judge_of_judgments(self, iteration: str) -> str:
        return pl.read_parquet(self.layout.table("judgments", iteration))["judge"].unique().item()

    def newest(self, asset: str, iteration: str) -> dg.AssetMaterialization:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["small", asset]), asset_partitions=[iteration])
        return self.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization

    def digest_of_checkpoint(self, iteration: str) -> str:
        return self.newest("checkpoint", iteration).metadata["judge_digest"].value

    def failures(self, backfill: str) -> dict[str, str]:
        """The sentence of the first failed step of each failed run of a backfill, by iteration."""
        found = {}
        for run in self.instance.get_runs(
            dg.RunsFilter(tags={"dagster/backfill": backfill}, statuses=[dg.DagsterRunStatus.FAILURE])
        ):
            failed = [
                record.dagster_event
                for record in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            ]
            if not failed:
                found[run.tags.get("dagster/partition", run.run_id)] = "failed before its first step"
                continue
            data = failed[0].step_failure_data
            sentence = data.user_failure_data.description if data.user_failure_data else data.error.message
            found[run.tags.get("dagster/partition", run.run_id)] = sentence or data.error.message
        return found


@contextmanager
def running_world(folder: Path, *, shipped: bool) -> Iterator[World]:
    """Runs of one backfill go one by one with the shipped dagster.yaml, and all at once with a default instance."""
    home = folder / "dagster_home"
    home.mkdir()
    if shipped:
        shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    recipe = write_small_recipe(folder)
    data = folder / "data"
    environment = {"SELFTAUGHT_RECIPES": str(recipe), "SELFTAUGHT_DATA": str(data), "OMP_NUM_THREADS": "1"}
    with DagsterDev(home, environment) as dagster, dg.DagsterInstance.from_config(str(home)) as instance:
        yield World(dagster, instance, recipe, Layout(data, "small"))


def backfill_hands_each_checkpoint_over(world: World) -> None:
    """A backfill of everything: all runs succeed, and each iteration is judged by the checkpoint before it."""
    backfill = world.backfill((*SOURCES, *ASSETS), ITERATIONS)
    assert world.dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS", world.failures(backfill)
    for previous, following in itertools.pairwise(ITERATIONS):
        assert world.judge_of_judgments(following) == world.digest_of_checkpoint(previous)


def failed_iteration_stops_the_later_ones_until_it_is_mended(world: World) -> None:
    """Iteration 1 fails midway: 2 and 3 do not run on anything stale; a re-execution finishes all."""
    judgments_before = {i: world.newest("judgments", i).tags["dagster/data_version"] for i in ITERATIONS[1:]}
    world.change_training(learning_rate=4e-3)
    checkpoints = world.layout.checkpoints("iteration_01")
    set_aside = checkpoints.with_name("set_aside")
    checkpoints.rename(set_aside)
    checkpoints.write_text("a file where a folder must be")

    backfill = world.backfill(ASSETS, ITERATIONS)
    assert world.dagster.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    failures = world.failures(backfill)
    assert set(failures) == set(ITERATIONS)
    assert "`small/checkpoint` of iteration_01" in failures["iteration_02"]
    assert "`small/checkpoint` of iteration_02" in failures["iteration_03"]
    after = {i: world.newest("judgments", i).tags["dagster/data_version"] for i in ITERATIONS[1:]}
    assert after == judgments_before

    checkpoints.unlink()
    set_aside.rename(checkpoints)
    # From failure Dagster starts 2 and 3 before the rest of 1: they can only make room where runs are retried.
    strategy = "FROM_FAILURE" if world.instance.run_retries_enabled else "ALL_STEPS"
    again = world.dagster.reexecute(backfill, strategy)
    assert world.dagster.wait_for_backfill(again) == "COMPLETED_SUCCESS", world.failures(again)
    for previous, following in itertools.pairwise(ITERATIONS):
        assert world.judge_of_judgments(following) == world.digest_of_checkpoint(previous)
