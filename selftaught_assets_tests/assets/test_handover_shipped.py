"""The hand-over of the judge under a real `dagster dev`, with the shipped dagster.yaml. Tests build on each other."""

from collections.abc import Iterator

import pytest

from selftaught_assets_tests.assets.handover_live import (
    World,
    backfill_hands_each_checkpoint_over,
    failed_iteration_stops_the_later_ones_until_it_is_mended,
    running_world,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("shipped"), shipped=True) as running:
        yield running


def test_backfill_hands_each_checkpoint_to_the_next_iteration(world: World) -> None:
    backfill_hands_each_checkpoint_over(world)


def test_retrained_checkpoint_makes_the_next_judgments_stale(world: World) -> None:
    query = """query Stale($path: [String!]!) {
      assetNodeOrError(assetKey: {path: $path}) {
        ... on AssetNode { staleStatusByPartition(partitions: ["iteration_02", "iteration_03"]) }
      }
    }"""
    before = world.dagster.graphql(query, path=["small", "judgments"])["assetNodeOrError"]["staleStatusByPartition"]
    assert before == ["FRESH", "FRESH"]
    world.change_training(learning_rate=2e-3)
    retraining = world.backfill(("checkpoint",), ["iteration_01"])
    assert world.dagster.wait_for_backfill(retraining) == "COMPLETED_SUCCESS", world.failures(retraining)
    after = world.dagster.graphql(query, path=["small", "judgments"])["assetNodeOrError"]["staleStatusByPartition"]
    assert after == ["STALE", "FRESH"]


def test_failed_iteration_stops_the_later_ones_until_it_is_mended(world: World) -> None:
    failed_iteration_stops_the_later_ones_until_it_is_mended(world)
