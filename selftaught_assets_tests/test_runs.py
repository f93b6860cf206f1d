"""Runs whose process died, and processes that are gone."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from selftaught_assets.commands import running
from selftaught_assets.errors import UserError
from selftaught_assets.processes import Process
from selftaught_assets.runs import PROCESS_TAG, MonitoredRunLauncher, end_with_run, fail_dead_runs, note_process
from selftaught_assets_tests.command_line import selftaught
from selftaught_assets_tests.conftest import ROOT, write_small_recipe
from selftaught_assets_tests.engines.processes import wait_for

FORK = multiprocessing.get_context("fork")  # What these processes do needs nothing that a fork could break.


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def ended() -> Process:
    """A process that is gone."""
    command = "import json, dataclasses; from selftaught_assets.processes import Process\n"
    command += "print(json.dumps(dataclasses.asdict(Process.own())))"
    return Process(**eval(subprocess.check_output([sys.executable, "-c", command], cwd=ROOT, text=True)))


def test_the_own_process_is_there() -> None:
    assert not Process.own().is_gone()


def test_a_process_that_ended_is_gone(ended: Process) -> None:
    assert ended.is_gone()


def test_a_process_that_was_killed_is_gone_although_nobody_has_asked_how_it_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process._of(child.pid)
        assert not process.is_gone()
        child.kill()
        child.stdin.close()
        while not process.is_gone():
            pass


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"started": 1}, True),
        ({"boot": "another one"}, True),
        ({"host": "elsewhere", "started": 1}, False),
        ({"host": "elsewhere", "boot": "another one"}, False),
        ({"namespace": "pid:[1]", "started": 1}, False),
    ],
    ids=["number given again", "restarted machine", "other machine", "other machine, restarted", "other container"],
)
def test_only_what_can_be_known_to_be_gone_is(changed: dict[str, object], gone: bool) -> None:
    assert dataclasses.replace(Process.own(), **changed).is_gone() is gone


def run_of(
    instance: dg.DagsterInstance, process: Process | None, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> dg.DagsterRun:
    """A run that a process executes."""
    job = dg.JobDefinition(name="job", graph_def=dg.GraphDefinition(name="job"))
    run = instance.create_run_for_job(job, status=status)
    if process is not None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Process, "own", lambda: process)
            note_process(instance, run.run_id)
    return instance.get_run_by_id(run.run_id)


@pytest.mark.parametrize("status", ["STARTING", "STARTED", "CANCELING"])
def test_a_dead_run_is_failed_with_a_sentence(instance: dg.DagsterInstance, ended: Process, status: str) -> None:
    run = run_of(instance, ended, dg.DagsterRunStatus(status))
    assert fail_dead_runs(instance) == [run.run_id]
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
    said = [record.user_message or record.dagster_event.message for record in instance.all_logs(run.run_id)]
    assert any(f"Process {ended.pid} on {ended.host}, which executed this run, has ended" in one for one in said)


def test_runs_that_are_alive_or_unknown_or_over_are_left(instance: dg.DagsterInstance, ended: Process) -> None:
    run_of(instance, Process.own())
    run_of(instance, None)
    run_of(instance, ended, dg.DagsterRunStatus.SUCCESS)
    assert fail_dead_runs(instance) == []


def test_a_run_that_ends_well_meanwhile_is_left(
    instance: dg.DagsterInstance, ended: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_of(instance, ended)
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "job"), before.run_id)
    monkeypatch.setattr(instance, "get_runs", lambda _: [before])
    assert fail_dead_runs(instance) == []


def test_a_run_that_inherited_the_tag_of_a_dead_one_is_left(instance: dg.DagsterInstance, ended: Process) -> None:
    dead = run_of(instance, ended)
    again = run_of(instance, None)
    instance.add_run_tags(again.run_id, {PROCESS_TAG: dead.tags[PROCESS_TAG]})
    assert fail_dead_runs(instance) == [dead.run_id]


def test_the_launcher_tells_run_monitoring_which_runs_are_dead(instance: dg.DagsterInstance, ended: Process) -> None:
    launcher = MonitoredRunLauncher()
    assert launcher.supports_check_run_worker_health
    found = [launcher.check_run_worker_health(run_of(instance, one)).status for one in (ended, Process.own(), None)]
    assert found == [WorkerStatus.NOT_FOUND, WorkerStatus.RUNNING, WorkerStatus.RUNNING]


def test_the_shipped_instance_has_that_launcher(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("shipped")
    (home / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(home)) as shipped:
        assert isinstance(shipped.run_launcher, MonitoredRunLauncher)
        assert shipped.run_monitoring_enabled


def test_selftaught_run_fails_its_dead_predecessors_before_it_starts(
    instance: dg.DagsterInstance, ended: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = run_of(instance, ended)

    def first_job(opened: dg.DagsterInstance, *_: object) -> None:
        raise UserError(f"It was {opened.get_run_by_id(dead.run_id).status.value}")

    monkeypatch.setattr(running, "_run_job", first_job)
    recipe, home = write_small_recipe(tmp_path), instance.root_directory
    done = selftaught("run", "--recipe", str(recipe), folder=tmp_path, DAGSTER_HOME=home)
    assert f"Run {dead.run_id} is marked as failed: its process had died." in " ".join(done.stdout.split())
    assert "It was FAILURE" in done.stderr


def execute(home: str, run_id: str, noted: bool, begun: Event, pid: Synchronized) -> None:
    """The body of a process that executes a run with one step."""
    with dg.DagsterInstance.from_config(home) as instance:
        if noted:
            note_process(instance, run_id)
        step = FORK.Process(target=make, args=(home, run_id, begun))
        step.start()
        pid.value = step.pid
        step.join()


def make(home: str, run_id: str, begun: Event) -> None:
    with dg.DagsterInstance.from_config(home) as instance:
        end_with_run(instance, run_id)
        begun.set()
        signal.pause()


@pytest.mark.parametrize("noted", [True, False], ids=["of our executor", "of another executor"])
def test_a_step_ends_soon_after_its_run_was_killed(instance: dg.DagsterInstance, noted: bool) -> None:
    run, begun, pid = run_of(instance, None), FORK.Event(), FORK.Value("i")
    executing = FORK.Process(target=execute, args=(instance.root_directory, run.run_id, noted, begun, pid))
    executing.start()
    assert begun.wait(60)
    step = Process._of(pid.value)
    executing.kill()
    executing.join()
    if noted:
        wait_for(step.is_gone)
    else:
        assert not step.is_gone()
        os.kill(pid.value, signal.SIGKILL)
