"""The hand-over of the judge under a real `dagster dev` with the shipped dagster.yaml, after what test_dagster.py did.

The tests build on each other.
"""

import pytest

from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.live import (
    JUDGED,
    TWO,
    Failed,
    World,
    assert_nothing_ran_on_what_is_stale,
    fail_in_the_first_iteration,
)

STALE = """query Stale($path: [String!]!) {
  assetNodeOrError(assetKey: {path: $path}) {
    ... on AssetNode { staleStatusByPartition(partitions: ["iteration_01", "iteration_02"]) }
  }
}"""


@pytest.fixture(scope="module")
def world(dagster_shipped: World) -> World:
    """Both iterations are made: by test_dagster.py, or here where that was not run or there is no browser."""
    if not dagster_shipped.layout.checkpoints("iteration_02").exists():
        dagster_shipped.backfill(("instructions", "pairs", *JUDGED), TWO)
    return dagster_shipped


@pytest.fixture(scope="module")
def failed(world: World) -> Failed:
    return fail_in_the_first_iteration(world)


@pytest.fixture(scope="module")
def again(world: World, failed: Failed) -> str:
    """The failed backfill, executed again from failure: Dagster starts iteration 2 before the rest of 1."""
    return world.dagster.reexecute(failed.backfill, "FROM_FAILURE")


def test_backfill_has_handed_each_checkpoint_to_the_next_iteration(world: World) -> None:
    world.assert_handed_over(TWO)


def test_retrained_checkpoint_makes_the_next_judgments_stale(world: World) -> None:
    assert stale(world) == ["FRESH", "FRESH"]
    world.change("training", learning_rate=2e-3)
    world.retrain("iteration_01")
    assert stale(world) == ["FRESH", "STALE"]


def stale(world: World) -> list[str]:
    """Of the judgments of both iterations, as the UI has it."""
    return world.dagster.graphql(STALE, path=["small", "judgments"])["assetNodeOrError"]["staleStatusByPartition"]


def test_failed_iteration_stops_the_later_one(world: World, failed: Failed) -> None:
    assert_nothing_ran_on_what_is_stale(world, failed)


def test_iteration_that_was_started_too_early_makes_room(world: World, again: str) -> None:
    wait_for(lambda: "makes room for it and is queued again" in world.failures(again).get("iteration_02", ""))


def test_first_iteration_is_then_made(world: World, again: str) -> None:
    wait_for(lambda: world.made(again)[:1] == ["iteration_01"])


def test_backfill_that_is_executed_again_from_failure_ends(world: World, again: str) -> None:
    world.wait_for(again)
    world.assert_handed_over(TWO)
