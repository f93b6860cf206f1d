"""Publishing the judge under a real `dagster dev` with the shipped dagster.yaml, after what test_dagster.py did.

The tests build on each other.
"""

import dagster as dg
import pytest

from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.live import (
    JUDGED,
    Failed,
    World,
    assert_nothing_ran_on_what_is_stale,
    fail_in_the_first_iteration,
)

STALE = """query Stale($path: [String!]!) {
  assetNodeOrError(assetKey: {path: $path}) {
    ... on AssetNode { staleStatusByPartition(partitions: ["iteration_01", "iteration_02", "iteration_03"]) }
  }
}"""


@pytest.fixture(scope="module")
def world(dagster_shipped: World) -> World:
    """All iterations are made: by test_dagster.py, or here where that was not run or there is no browser."""
    if not dagster_shipped.layout.checkpoints("iteration_03").exists():
        dagster_shipped.backfill(("instructions", "pairs", *JUDGED), dagster_shipped.iterations)
    return dagster_shipped


@pytest.fixture(scope="module")
def failed(world: World) -> Failed:
    return fail_in_the_first_iteration(world)


@pytest.fixture(scope="module")
def again(world: World, failed: Failed) -> str:
    """The failed backfill, executed again from failure: Dagster starts iterations 2 and 3 before the rest of 1."""
    return world.dagster.reexecute(failed.backfill, "FROM_FAILURE")


def test_backfill_has_handed_each_checkpoint_to_the_next_iteration(world: World) -> None:
    world.assert_published()


def test_retrained_checkpoint_makes_the_next_judgments_stale(world: World) -> None:
    assert stale(world) == ["FRESH", "FRESH", "FRESH"]
    world.change("training", learning_rate=2e-3)
    world.retrain("iteration_01")
    assert stale(world) == ["FRESH", "STALE", "FRESH"]


def stale(world: World) -> list[str]:
    """Of the judgments of all iterations, as the UI has it."""
    return world.dagster.graphql(STALE, path=["small", "judgments"])["assetNodeOrError"]["staleStatusByPartition"]


def test_failed_iteration_stops_the_later_one(world: World, failed: Failed) -> None:
    assert_nothing_ran_on_what_is_stale(world, failed)


def test_iteration_that_was_started_too_early_makes_room(world: World, again: str) -> None:
    wait_for(lambda: "stops to make room and is queued again" in world.failures(again).get("iteration_02", ""))


def test_first_iteration_is_then_made(world: World, again: str) -> None:
    wait_for(lambda: world.made(again)[:1] == ["iteration_01"])


def test_second_iteration_is_made_after_it_and_the_third_which_had_to_wait_for_it_last(
    world: World, again: str
) -> None:
    world.wait_for(again)
    assert list(dict.fromkeys(world.made(again))) == list(world.iterations)
    world.assert_published()


def test_iterations_are_backfilled_between_what_they_need_and_what_needs_them(world: World) -> None:
    assets, two = ("benchmarks", "evaluation", "progress"), world.iterations[:2]
    before = {asset: len(made_at(world, asset)) for asset in assets}
    world.backfill(assets, two)
    benchmarks, evaluation, progress = (made_at(world, asset)[before[asset] :] for asset in assets)
    assert [len(times) for times in (benchmarks, evaluation, progress)] == [1, 2, 1]
    assert benchmarks[0] < min(evaluation) < max(evaluation) < progress[0]


def made_at(world: World, asset: str) -> list[float]:
    """When an asset was materialized, in any partition."""
    made = world.instance.fetch_materializations(dg.AssetKey(["small", asset]), limit=100, ascending=True)
    return [record.timestamp for record in made.records]
