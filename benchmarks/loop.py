"""One iteration of the demo, as `selftaught run` does it: how much of its time is neither sampling nor training.

`overhead`: share of the wall time of the iteration's run in which nothing was sampled and nothing trained: process
starts, imports, loading models, tables, checks, Dagster's own work. Mark: 15 %.
`resume`: wall time of the same run once more, over the first; it must sample nothing. Mark: 5 %.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg

from benchmarks.measuring import Result, Side, compared
from selftaught_assets.assets.history import newest_materialization

SAMPLING = ("pairs", "judgments", "evaluation")


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Runs the demo's first iteration twice, in folders of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        environment = os.environ | {"DAGSTER_HOME": str(home), "SELFTAUGHT_DATA": str(Path(folder) / "data")}
        walls, busy, sampled = [], [], []
        for _ in range(2):
            command = [
                sys.executable,
                "-c",
                "from selftaught_assets.cli import main; main()",
                "run",
                "--iterations",
                "1",
            ]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                walls.append(_wall(instance))
                numbers = {name: _metadata(instance, name) for name in (*SAMPLING, "checkpoint")}
            busy.append(
                sum(numbers[name]["sampling_seconds"] for name in SAMPLING) + numbers["checkpoint"]["training_seconds"]
            )
            sampled.append(sum(numbers[name]["completions_sampled"] for name in SAMPLING))
    if sampled[1]:
        raise RuntimeError(f"The second run sampled {sampled[1]} completions.")
    print(f"first run {walls[0]:.1f} s, of which {busy[0]:.1f} s sampling and training; second run {walls[1]:.1f} s")
    idle = Side("neither sampled nor trained", [walls[0] - busy[0]], "s")
    first, again = Side("iteration", walls[:1], "s"), Side("once more", walls[1:], "s")
    return {"overhead": compared(idle, first, n=1), "resume": compared(again, first, n=1)}


def _wall(instance: dg.DagsterInstance) -> float:
    """Seconds of the newest run of an iteration."""
    record = instance.get_run_records(dg.RunsFilter(job_name="demo_iteration"), limit=1)[0]
    return record.end_time - record.start_time


def _metadata(instance: dg.DagsterInstance, name: str) -> dict[str, float]:
    made = newest_materialization(instance, dg.AssetKey(["demo", name]), "iteration_01")
    return {entry: value.value for entry, value in made.metadata.items()}
