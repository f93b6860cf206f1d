"""A real `dagster dev` on the small recipe, with the shipped dagster.yaml or with a default instance.

Belongs here: starting one, what tests do to it, and what of publication holds for both. Tests of one Dagster build on
each other, in the order in which they stand.
"""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import polars as pl
import pytest
import yaml

from selftaught_assets.iterations import iteration_key
from selftaught_assets.recipe import load_recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.assets.loop import Loop, open_loop
from selftaught_assets_tests.conftest import ROOT, write_small_recipe
from selftaught_assets_tests.dagster_dev import DagsterDev

JUDGED = ("judge", "judgments", "filtered_set", "checkpoint")
FEW = {"max_tokens": 96}
SMALLER = {
    "iterations": 3,
    "instructions": {"count": 24},
    "judgments": {"n": 2, "sampling": FEW},
    "evaluation": {"votes": 1, "sampling": FEW},
}
"""Sections that make it smaller still: Dagster is looked at, not the judge."""


@dataclass
class World:
    """A running Dagster with the small recipe."""

    dagster: DagsterDev
    instance: dg.DagsterInstance
    recipe: Path
    layout: Layout

    @property
    def iterations(self) -> tuple[str, ...]:
        """Keys of all iterations of the recipe."""
        return tuple(map(iteration_key, range(1, load_recipe(str(self.recipe)).iterations + 1)))

    def change(self, section: str, **fields: Any) -> None:
        """Changes the recipe as a user does: edits the file, reloads the definitions."""
        content = yaml.safe_load(self.recipe.read_text())
        content[section] |= fields
        self.recipe.write_text(yaml.safe_dump(content))
        self.dagster.reload()

    def backfill(self, names: Sequence[str], partitions: Sequence[str]) -> None:
        """Backfills assets as the UI does, and waits until all is made."""
        self.wait_for(self.launch(names, partitions))

    def wait_for(self, backfill: str) -> None:
        assert self.dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS", self.failures(backfill)

    def retrain(self, iteration: str) -> None:
        """Materializes a checkpoint with the recipe as it is now, in this process."""
        recipe = load_recipe(str(self.recipe))
        Loop(recipe, self.layout.root, self.instance).run("iteration", iteration, ["checkpoint"])

    def launch(self, names: Sequence[str], partitions: Sequence[str]) -> str:
        return self.dagster.backfill([["small", name] for name in names], list(partitions))

    def table(self, asset: str, iteration: str | None = None) -> pl.DataFrame:
        return pl.read_parquet(self.layout.table(asset, iteration))

    def judge_of_judgments(self, iteration: str) -> str:
        return self.table("judgments", iteration)["judge"].unique().item()

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

    def made(self, backfill: str) -> list[str]:
        """The iterations that runs of a backfill have made, in their order."""
        wanted = dg.RunsFilter(tags={"dagster/backfill": backfill}, statuses=[dg.DagsterRunStatus.SUCCESS])
        records = sorted(self.instance.get_run_records(wanted), key=lambda record: record.end_time)
        return [record.dagster_run.tags["dagster/partition"] for record in records]

    def assert_published(self) -> None:
        """Each iteration was judged by the checkpoint of the one before."""
        for previous, following in itertools.pairwise(self.iterations):
            assert self.judge_of_judgments(following) == self.digest_of_checkpoint(previous)


@contextmanager
def running(home: Path, recipe: Path, data: Path) -> Iterator[World]:
    """`dagster dev` on an instance that there is.

    Args:
        home: folder with a dagster.yaml. With the shipped one, runs of a backfill go one by one; else all at once.
        recipe: file.
        data: folder.
    """
    environment = {"SELFTAUGHT_RECIPES": str(recipe), "SELFTAUGHT_DATA": str(data), "OMP_NUM_THREADS": "1"}
    with DagsterDev(home, environment) as dagster, dg.DagsterInstance.from_config(str(home)) as instance:
        yield World(dagster, instance, recipe, Layout(data, "small"))


@pytest.fixture(scope="session")
def dagster_shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """With the shipped dagster.yaml. What all iterations need is made, and no iteration."""
    folder = tmp_path_factory.mktemp("shipped")
    recipe = write_small_recipe(folder, **SMALLER)
    with open_loop(load_recipe(str(recipe)), folder) as loop:
        loop.run("prepare")
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", folder / "home")
    with running(folder / "home", recipe, folder / "data") as world:
        yield world


class Failed(NamedTuple):
    """A backfill of all iterations with other weights, of which those of the first could not be written."""

    backfill: str
    judged_before: list[str]
    """Versions of the judgments of all iterations but the first."""


def fail_in_the_first_iteration(world: World) -> Failed:
    """What stood in the way is gone again at the end, so that the backfill can be executed again."""
    judged_before = versions_of_judgments(world)
    world.change("training", learning_rate=4e-3)
    checkpoints = world.layout.checkpoints("iteration_01")
    set_aside = checkpoints.with_name("set_aside")
    checkpoints.rename(set_aside)
    checkpoints.write_text("a file where a folder must be")
    try:
        backfill = world.launch(JUDGED, world.iterations)
        assert world.dagster.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    finally:
        checkpoints.unlink()
        set_aside.rename(checkpoints)
    return Failed(backfill, judged_before)


def assert_nothing_ran_on_what_is_stale(world: World, failed: Failed) -> None:
    """Each later iteration said which checkpoint it lacks, and judged nothing."""
    failures = world.failures(failed.backfill)
    assert set(failures) == set(world.iterations)
    for previous, following in itertools.pairwise(world.iterations):
        assert f"`small/checkpoint` of {previous}" in failures[following]
    assert versions_of_judgments(world) == failed.judged_before


def versions_of_judgments(world: World) -> list[str]:
    return [world.newest("judgments", later).tags["dagster/data_version"] for later in world.iterations[1:]]
