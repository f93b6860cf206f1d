"""The shipped automation on a real instance: what its conditions request is executed, until they request nothing."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.promotion import promote_by_hand
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, copy_of, open_loop
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

FIRST, SECOND = "iteration_01", "iteration_02"
FEW = {"instructions": {"count": 32}, "evaluation": SMALL["evaluation"] | {"votes": 1}}
SHOWN = ("progress", "report")
"""Assets of the job `progress`."""


class RollingLoop(Loop):
    """A loop whose automation is switched on."""

    cursor: Any = None
    not_made: tuple[str, ...] = ()
    """Assets that may be requested, and then are left as they are."""

    def roll(self) -> list[tuple[str, str | None]]:
        """Executes what automation requests, tick by tick, until a tick requests nothing; returns it in order."""
        requested = []
        while tick := self._tick():
            requested += tick
            for iteration in dict.fromkeys(iteration for _, iteration in tick):
                names = [name for name, wanted in tick if wanted == iteration and name not in self.not_made]
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


def test_loop_rolls_on_past_warnings_to_the_last_iteration(first_iteration: Loop, tmp_path: Path) -> None:
    checks = first_iteration.recipe.checks.model_copy(update={"min_characters": 1_000})
    recipe = first_iteration.recipe.model_copy(update={"checks": checks})
    with copy_of(first_iteration, tmp_path, recipe, RollingLoop) as loop:
        loop.roll()
        assert status(loop, "instructions", "usable_text_warnings") == AssetCheckExecutionRecordStatus.FAILED
        assert status(loop, "instructions", "usable_text") == AssetCheckExecutionRecordStatus.SUCCEEDED
        judge = loop.table("judgments", SECOND)["judge"].unique().item()
        assert judge == loop.metadata("checkpoint", FIRST)["judge_digest"]
        assert loop.table("progress")["judge"].to_list() == ["seed", FIRST, SECOND]
        assert SECOND in loop.layout.report.read_text(encoding="utf-8")


def test_finished_loop_rolls_on_only_after_retraining(two_iterations: Loop, tmp_path: Path) -> None:
    training = two_iterations.recipe.training.model_copy(update={"learning_rate": 3e-3})
    recipe = two_iterations.recipe.model_copy(update={"training": training})
    with copy_of(two_iterations, tmp_path, recipe, RollingLoop) as loop:
        assert loop.roll() == []
        loop.run("iteration", FIRST, ["checkpoint"])
        requested = loop.roll()
        assert ("judgments", SECOND) in requested
        assert ("checkpoint", SECOND) in requested
        judge = loop.table("judgments", SECOND)["judge"].unique().item()
        assert judge == loop.metadata("checkpoint", FIRST)["judge_digest"]


@pytest.mark.slow
def test_loop_without_gain_rolls_no_further_until_someone_promotes_its_checkpoint(tmp_path: Path) -> None:
    training = SMALL["training"] | {"learning_rate": 1e-12}
    promotion = {"stop_when_flat": 1, "validation": "tiny"}
    path = write_small_recipe(tmp_path, **FEW, training=training, promotion=promotion)
    with open_loop(load_recipe(str(path)), tmp_path, RollingLoop) as loop:
        loop.not_made = ("report",)  # It takes seconds each time; that it is made is tested above.
        loop.roll()
        loop.run("iteration", FIRST, ["judge"])
        requested = loop.roll()
        assert ("evaluation", FIRST) in requested
        assert ("judgments", SECOND) not in requested

        promote_by_hand(loop.instance, Family(loop.recipe, loop.layout), FIRST, "a trial")
        requested = loop.roll()
        assert ("evaluation", SECOND) in requested
        assert ("judgments", "iteration_03") not in requested


@pytest.mark.parametrize("shown", SHOWN)
def test_what_shows_the_state_of_things_waits_for_no_later_iteration(small_recipe, tmp_path: Path, shown: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(small_recipe(), tmp_path / "data", instance)
        for name, partition in (("seed_evaluation", None), ("evaluation", FIRST)):
            instance.report_runless_asset_event(dg.AssetMaterialization(loop.key(name), partition=partition))
        result = dg.evaluate_automation_conditions(loop.definitions, instance)
        assert result.get_num_requested(loop.key(shown)) == 1


def test_automation_is_shipped_switched_off(small_recipe, tmp_path: Path) -> None:
    loop = Loop(small_recipe(), tmp_path / "data", dg.DagsterInstance.ephemeral())
    assert [sensor.default_status for sensor in loop.definitions.sensors] == [dg.DefaultSensorStatus.STOPPED]
