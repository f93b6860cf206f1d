"""The shipped automation on a real instance: what its conditions request is executed, until they request nothing."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.promotion import promote_by_hand
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

SHOWN = ("progress", "report")
"""Assets of the job `progress`."""


class RollingLoop(Loop):
    """A loop whose automation is switched on."""

    cursor: Any = None

    def roll(self) -> list[tuple[str, str | None]]:
        """Executes what automation requests, tick by tick, until a tick requests nothing; returns it in order."""
        requested = []
        while tick := self._tick():
            requested += tick
            for iteration in dict.fromkeys(iteration for _, iteration in tick):
                names = [name for name, wanted in tick if wanted == iteration]
                for job in ("prepare", "progress") if iteration is None else ("iteration",):
                    of_job = [name for name in names if iteration or (name in SHOWN) is (job == "progress")]
                    if of_job:
                        self.run(job, iteration, of_job)
        return requested

    def _tick(self) -> list[tuple[str, str | None]]:
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return [
            (key.path[-1], partition)
            for key in self.definitions.resolve_asset_graph().toposorted_asset_keys
            for partition in sorted(result.get_requested_partitions(key), key=str)
        ]


def status(loop: Loop, asset: str, check: str) -> AssetCheckExecutionRecordStatus:
    """How a check ended when it was last made."""
    key = dg.AssetCheckKey(Family(loop.recipe, loop.layout).key(asset), check)
    (record,) = loop.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return record.status


@pytest.mark.slow
def test_loop_rolls_on_past_warnings_to_the_last_iteration_and_again_after_retraining(tmp_path: Path) -> None:
    path = write_small_recipe(tmp_path, checks={"min_characters": 1_000})
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        loop = RollingLoop(load_recipe(str(path)), tmp_path / "data", instance)
        loop.roll()
        for asset in ("instruction_pool", "instructions"):
            assert status(loop, asset, "usable_text_warnings") == AssetCheckExecutionRecordStatus.FAILED
            assert status(loop, asset, "usable_text") == AssetCheckExecutionRecordStatus.SUCCEEDED
        loop.run("iteration", "iteration_01", ["judge"])
        loop.roll()
        for previous, following in (("iteration_01", "iteration_02"), ("iteration_02", "iteration_03")):
            judge = loop.table("judgments", following)["judge"].unique().item()
            assert judge == loop.metadata("checkpoint", previous)["judge_digest"]
        assert loop.table("progress")["judge"].to_list() == ["seed", "iteration_01", "iteration_02", "iteration_03"]

        training = load_recipe(str(write_small_recipe(tmp_path))).training.model_copy(update={"learning_rate": 3e-3})
        changed = RollingLoop(loop.recipe.model_copy(update={"training": training}), tmp_path / "data", instance)
        changed.cursor = loop.cursor
        changed.run("iteration", "iteration_01", ["checkpoint"])
        requested = changed.roll()
        assert ("judgments", "iteration_02") in requested
        assert ("checkpoint", "iteration_03") in requested
        judge = changed.table("judgments", "iteration_02")["judge"].unique().item()
        assert judge == changed.metadata("checkpoint", "iteration_01")["judge_digest"]


@pytest.mark.slow
def test_loop_without_gain_rolls_no_further_until_someone_promotes_its_checkpoint(tmp_path: Path) -> None:
    training = SMALL["training"] | {"learning_rate": 1e-12}
    path = write_small_recipe(tmp_path, training=training, handover={"stop_when_flat": 1, "validation": "tiny"})
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        loop = RollingLoop(load_recipe(str(path)), tmp_path / "data", instance)
        loop.roll()
        loop.run("iteration", "iteration_01", ["judge"])
        requested = loop.roll()
        assert ("evaluation", "iteration_01") in requested
        assert ("judgments", "iteration_02") not in requested

        promote_by_hand(instance, Family(loop.recipe, loop.layout), "iteration_01", "a trial")
        requested = loop.roll()
        assert ("evaluation", "iteration_02") in requested
        assert ("judgments", "iteration_03") not in requested


def test_automation_is_shipped_switched_off(small_recipe, tmp_path: Path) -> None:
    loop = Loop(small_recipe(), tmp_path / "data", dg.DagsterInstance.ephemeral())
    assert [sensor.default_status for sensor in loop.definitions.sensors] == [dg.DefaultSensorStatus.STOPPED]
