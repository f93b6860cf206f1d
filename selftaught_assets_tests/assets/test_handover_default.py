"""The hand-over of the judge under a real `dagster dev` with a default instance. The tests build on each other."""

import itertools
from collections.abc import Iterator

import pytest

from selftaught_assets_tests.assets.handover_live import (
    ASSETS,
    ITERATIONS,
    World,
    backfill_hands_each_checkpoint_over,
    failed_iteration_stops_the_later_ones_until_it_is_mended,
    running_world,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("default"), shipped=False) as running:
        yield running


def test_backfill_hands_each_checkpoint_to_the_next_iteration(world: World) -> None:
    backfill_hands_each_checkpoint_over(world)


def test_backfill_after_a_change_never_uses_the_old_checkpoint(world: World) -> None:
    old = {iteration: world.digest_of_checkpoint(iteration) for iteration in ITERATIONS}
    world.change_training(learning_rate=3e-3)
    backfill = world.backfill(ASSETS, ITERATIONS)
    assert world.dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS", world.failures(backfill)
    for previous, following in itertools.pairwise(ITERATIONS):
        assert world.digest_of_checkpoint(previous) != old[previous]
        assert world.judge_of_judgments(following) == world.digest_of_checkpoint(previous)


def test_failed_iteration_stops_the_later_ones_until_it_is_mended(world: World) -> None:
    failed_iteration_stops_the_later_ones_until_it_is_mended(world)
