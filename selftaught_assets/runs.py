"""Runs whose process died: they are marked as failed instead of holding their place in the queue for ever.

Each run of `EXECUTOR` notes, in a tag, the process that executes it. `selftaught run` fails the dead ones before it
starts (`fail_dead_runs`). Dagster's run monitoring does so for all of them, whoever started them, where dagster.yaml
names `MonitoredRunLauncher`: without it, it never asks whether a process is alive. A code server notices the end of the
runs that it started, but it can die with them, and it knows nothing of runs of `selftaught run`.
"""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing.connection import wait
from typing import Any

import dagster as dg
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

from selftaught_assets.processes import Process

PRELOADED = ["selftaught_assets.preload"]
"""Imported by the process that all steps of a run are forked from."""

PROCESS_TAG = "selftaught/process"
"""The process that executes a run, as JSON, and the run's id: a run that is executed again inherits the tags."""

GRACE_SECONDS = 20.0
"""How long a step that nobody waits for may take to end."""

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""Those that hold a place. A queued run has no process yet."""


class _NotingExecutor(dg.Executor):
    """Notes the process that executes a run, then leaves the run to another executor."""

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> RetryMode:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        note_process(plan_context.instance, plan_context.run_id)
        yield from self._executor.execute(plan_context, execution_plan)


@dg.executor(
    name="multiprocess",
    config_schema=dg.multiprocess_executor.config_schema,
    requirements=dg.multiple_process_executor_requirements(),
)
def noting_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Dagster's multiprocess executor, whose runs say which process executes them."""
    return _NotingExecutor(dg.multiprocess_executor.executor_creation_fn(context))


EXECUTOR = noting_executor.configured(
    {"max_concurrent": 1, "start_method": {"forkserver": {"preload_modules": PRELOADED}}}
)
"""One step at a time, each in a process that ends: sampling and training never hold a device together."""


def note_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tags a run with the process that asks, which executes it."""
    instance.add_run_tags(run_id, {PROCESS_TAG: json.dumps({"run": run_id, **asdict(Process.own())})})


def process_of(run: dg.DagsterRun) -> Process | None:
    """The process that executes a run; None where it is not known."""
    noted = json.loads(run.tags.get(PROCESS_TAG, "{}"))
    return Process(**noted) if noted.pop("run", None) == run.run_id else None


def end_with_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """In the process of a step: sees that it ends soon after the process that executes its run, which may be killed.

    Else it would go on alone, with nobody to hand its result to. In the process of the run itself nothing happens.
    """
    run, parent = instance.get_run_by_id(run_id), Process.parent()
    if run is not None and parent is not None and process_of(run) == parent:
        sentinel = multiprocessing.parent_process().sentinel
        threading.Thread(target=_end_after, args=(sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # As a run does that is cancelled: what was sampled gets into the journal.
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks the unfinished runs as failed whose process is gone from this machine; returns their ids."""
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if _is_dead(run)]
    # One that ended meanwhile, as it should, is not dead.
    dead = [run for run in dead if instance.get_run_by_id(run.run_id).status == run.status]
    for run in dead:
        instance.report_run_failed(run, f"{_what_happened(run)}; what it sampled is kept: start it again.")
    return [run.run_id for run in dead]


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """Launches runs as Dagster does by default, and tells its run monitoring which of them have died.

    In dagster.yaml: `run_launcher: {module: selftaught_assets.runs, class: MonitoredRunLauncher}`, with
    `run_monitoring: {enabled: true}`. A run that does not say which process executes it counts as alive.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if _is_dead(run):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, _what_happened(run))
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _is_dead(run: dg.DagsterRun) -> bool:
    process = process_of(run)
    return process is not None and process.is_gone()


def _what_happened(run: dg.DagsterRun) -> str:
    process = process_of(run)
    return f"Process {process.pid} on {process.host}, which executed this run, has ended without saying how it went"
