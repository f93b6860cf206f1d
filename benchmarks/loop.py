"""One iteration of the demo, as `selftaught run` does it: how much of its time is neither sampling nor training.

`overhead`: share of the wall time of the iteration's run in which nothing was sampled and nothing trained: process
starts, imports, loading models, tables, checks, Dagster's own work. Mark: 15 %.
`resume`: what the command spends on the iteration when it is given once more, from the end of `prepare` to the start of
`progress`, over what it spent at first; it must sample nothing. Mark: 5 %.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg

from benchmarks.measuring import Result, Side, compared, seconds
from selftaught_assets.assets.history import newest_materialization

SAMPLING = ("pairs", "judgments", "evaluation")


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Runs the demo's first iteration twice, in folders of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        environment = os.environ | {"DAGSTER_HOME": str(home), "SELFTAUGHT_DATA": str(Path(folder) / "data")}
        command = [sys.executable, "-c", "from selftaught_assets.cli import main; main()", "run", "--iterations", "1"]
        commands, spent = [], []
        for _ in range(2):
            whole = seconds(lambda: subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL))
            commands.append(whole)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                spent.append(_between(instance, "demo_prepare", "demo_progress"))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            wall = _wall(instance)
            numbers = {name: _metadata(instance, name) for name in (*SAMPLING, "checkpoint")}
    busy = sum(numbers[name]["sampling_seconds"] for name in SAMPLING) + numbers["checkpoint"]["training_seconds"]
    print(
        f"the command: {commands[0]:.1f} s, then {commands[1]:.1f} s; in the run, sampling and training: {busy:.1f} s"
    )
    idle, iteration = Side("neither sampled nor trained", [wall - busy], "s"), Side("iteration", [wall], "s")
    first, again = Side("on the iteration", spent[:1], "s"), Side("once more", spent[1:], "s")
    return {"overhead": compared(idle, iteration, n=1), "resume": compared(again, first, n=1)}


def _wall(instance: dg.DagsterInstance) -> float:
    """Seconds of the only run of an iteration; raises ValueError if there were more."""
    (record,) = instance.get_run_records(dg.RunsFilter(job_name="demo_iteration"))
    return record.end_time - record.start_time


def _between(instance: dg.DagsterInstance, one: str, other: str) -> float:
    """Seconds from the end of the newest run of a job to the start of that of another."""
    before, after = (instance.get_run_records(dg.RunsFilter(job_name=name), limit=1)[0] for name in (one, other))
    return after.start_time - before.end_time


def _metadata(instance: dg.DagsterInstance, name: str) -> dict[str, float]:
    made = newest_materialization(instance, dg.AssetKey(["demo", name]), "iteration_01")
    return {entry: value.value for entry, value in made.metadata.items()}
