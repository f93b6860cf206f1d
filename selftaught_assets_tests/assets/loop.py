"""Runs of the small recipe in this process, on a real instance: real seed model, real sampling, real training."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import dagster as dg
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from selftaught_assets.assets.history import newest_made, newest_materialization, newest_version
from selftaught_assets.definitions import build_definitions
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.forks import forked_trainings


class Loop:
    """One recipe, its data folder and its instance."""

    def __init__(self, recipe: Recipe, data: Path, instance: dg.DagsterInstance) -> None:
        self.recipe = recipe.model_copy()
        self.recipe._file = None  # A test changes a recipe by another file on the same folder, whose owner is nobody.
        self.instance = instance
        self.layout = Layout.of(recipe, data)
        self.definitions = build_definitions([self.recipe], data=data, executor=dg.in_process_executor)

    def run(
        self, job: str, iteration: str | None = None, assets: Sequence[str] | None = None, *, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Executes a job, or only some of its assets with their checks; asserts that it succeeds, or fails."""
        selection = None if assets is None else [self.key(name) for name in assets]
        with forked_trainings():
            result = self.definitions.resolve_job_def(self.recipe.dagster_name(job)).execute_in_process(
                instance=self.instance, partition_key=iteration, asset_selection=selection, raise_on_error=False
            )
        assert result.success is not fails
        return result

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([self.recipe.name, name])

    def table(self, name: str, iteration: str | None = None) -> pl.DataFrame:
        return pl.read_parquet(self.layout.table(name, iteration))

    def metadata(self, name: str, iteration: str | None = None) -> dict[str, object]:
        made = newest_materialization(self.instance, self.key(name), iteration)
        return {entry: value.value for entry, value in made.metadata.items()}

    def version(self, name: str, iteration: str | None = None) -> str | None:
        return newest_version(self.instance, self.key(name), iteration)

    def report_failed_check(self, asset: str, name: str, iteration: str, severity: dg.AssetCheckSeverity) -> None:
        """Logs that a check of the newest materialization failed."""
        made = newest_made(self.instance, self.key(asset), iteration)
        checked = AssetCheckEvaluationTargetMaterializationData(
            run_id=made.run_id, storage_id=made.storage_id, timestamp=0.0
        )
        failed = dg.AssetCheckEvaluation(
            self.key(asset), name, False, {}, checked, severity=severity, partition=iteration
        )
        self.instance.report_runless_asset_event(failed)


AnyLoop = TypeVar("AnyLoop", bound=Loop)


@contextmanager
def open_loop(recipe: Recipe, folder: Path, kind: type[AnyLoop] = Loop) -> Iterator[AnyLoop]:
    """A loop with its data and its instance in a folder, as the command line finds them with DAGSTER_HOME at `home`."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield kind(recipe, folder / "data", instance)


@contextmanager
def copy_of(loop: Loop, folder: Path, recipe: Recipe | None = None, kind: type[AnyLoop] = Loop) -> Iterator[AnyLoop]:
    """The same loop with its data and its history in another folder, if need be with another recipe."""
    shutil.copytree(loop.layout.root, folder / "data")
    shutil.copytree(loop.instance.root_directory, folder / "home")
    with open_loop(recipe or loop.recipe, folder, kind) as copied:
        yield copied


def sentences(result: dg.ExecuteInProcessResult) -> list[str]:
    """What the failed steps of a run say."""
    failures = [
        event.step_failure_data for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE
    ]
    return [
        failure.user_failure_data.description
        if failure.user_failure_data and failure.user_failure_data.description
        else str(failure.error.message if failure.error else "")
        for failure in failures
    ]
