"""A real `dagster dev` with the shipped dagster.yaml beside runs of the command line, dead ones and those at work.

The tests build on each other.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
import pytest

from selftaught_assets.runs import PROCESS_TAG, process_of
from selftaught_assets.storage.writers import whole_folder
from selftaught_assets_tests.command_line import SELFTAUGHT, selftaught
from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.live import World
from selftaught_assets_tests.test_runs import run_of

MAX_CONCURRENT_RUNS = 4
MADE = ("instructions",), ("iteration_01",)


@pytest.fixture(scope="module")
def world(dagster_shipped: World) -> World:
    return dagster_shipped


def environment(world: World) -> dict[str, str]:
    return {"DAGSTER_HOME": world.instance.root_directory, "SELFTAUGHT_DATA": str(world.layout.root)}


@pytest.fixture(scope="module")
def killed(world: World) -> Iterator[tuple[dg.DagsterRun, str]]:
    """The run of a `selftaught run` that was killed, and what another one said before."""
    arguments = ["run", "--recipe", str(world.recipe)]
    command = subprocess.Popen(
        [*SELFTAUGHT, *arguments],
        env=os.environ | environment(world),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: started(world, command.pid))
        said = selftaught(*arguments, folder=world.layout.root, **environment(world)).stderr
    finally:
        command.kill()
        command.wait()
    yield started(world, command.pid)[0], said
    with suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)  # Its forkserver, should it still be importing.


def started(world: World, pid: int) -> list[dg.DagsterRun]:
    """Runs that say that a process executes them."""
    return [run for run in world.instance.get_runs() if (process := process_of(run)) and process.pid == pid]


def test_a_second_run_of_the_command_line_is_refused_while_the_first_is_at_work(
    killed: tuple[dg.DagsterRun, str],
) -> None:
    run, said = killed
    assert f"`selftaught run` (process {process_of(run).pid} on " in said
    assert "is at work on recipe small" in said


def test_runs_whose_process_died_do_not_hold_the_queue(world: World, killed: tuple[dg.DagsterRun, str]) -> None:
    run, _ = killed
    dead = [run, *(run_of(world.instance, process_of(run)) for _ in range(MAX_CONCURRENT_RUNS - 1))]
    world.backfill(*MADE)
    after = [world.instance.get_run_by_id(one.run_id).status for one in dead]
    assert after == [dg.DagsterRunStatus.FAILURE] * MAX_CONCURRENT_RUNS
    said = [
        record.dagster_event.message or "" for record in world.instance.all_logs(run.run_id) if record.dagster_event
    ]
    assert any("which executed this run, has ended without saying how it went" in one for one in said), said


def test_a_stage_in_the_ui_fails_at_once_while_the_command_line_is_at_work(world: World) -> None:
    with whole_folder(world.layout, "`selftaught run`"):
        backfill = world.launch(*MADE)
        assert world.dagster.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    assert world.failures(backfill)["iteration_01"].startswith(f"`selftaught run` (process {os.getpid()} on ")


def test_a_run_of_the_ui_says_which_process_executes_it(world: World) -> None:
    (newest,) = world.instance.get_runs(limit=1)
    assert "dagster/backfill" in newest.tags
    assert PROCESS_TAG in newest.tags
    assert process_of(newest).is_gone()
