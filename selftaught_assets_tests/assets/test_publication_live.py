"""Publishing the judge under a real `dagster dev` with a default instance, which runs a whole backfill at once.

It starts from two finished iterations. The tests build on each other. The same under the shipped dagster.yaml, from
nothing: ui/test_publication.py.
"""

from collections.abc import Iterator

import pytest

from selftaught_assets_tests.assets.loop import Loop, copy_of
from selftaught_assets_tests.assets.trained import TRAINED
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.live import (
    Failed,
    World,
    assert_nothing_ran_on_what_is_stale,
    fail_in_the_first_iteration,
    running,
)


@pytest.fixture(scope="module")
def world(two_iterations: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("default")
    with copy_of(two_iterations, folder) as loop:
        data = loop.layout.root
    with running(folder / "home", write_small_recipe(folder, **TRAINED), data) as started:
        yield started


@pytest.fixture(scope="module")
def failed(world: World) -> Failed:
    return fail_in_the_first_iteration(world)


def test_iterations_that_were_made_elsewhere_are_known(world: World) -> None:
    world.assert_published()


def test_failed_iteration_stops_the_later_one(world: World, failed: Failed) -> None:
    assert_nothing_ran_on_what_is_stale(world, failed)


@pytest.fixture(scope="module")
def again(world: World, failed: Failed) -> tuple[str, dict[str, str]]:
    """The failed backfill, executed again as a whole, and the checkpoints that there were before."""
    old = {iteration: world.digest_of_checkpoint(iteration) for iteration in world.iterations}
    return world.dagster.reexecute(failed.backfill, "ALL_STEPS"), old


def test_first_iteration_is_made_when_the_backfill_is_executed_again(
    world: World, again: tuple[str, dict[str, str]]
) -> None:
    backfill, _ = again
    wait_for(lambda: world.made(backfill)[:1] == ["iteration_01"])


def test_second_iteration_that_runs_beside_it_never_uses_the_old_checkpoint(
    world: World, again: tuple[str, dict[str, str]]
) -> None:
    backfill, old = again
    world.wait_for(backfill)
    world.assert_published()
    assert all(world.digest_of_checkpoint(iteration) != old[iteration] for iteration in world.iterations)
