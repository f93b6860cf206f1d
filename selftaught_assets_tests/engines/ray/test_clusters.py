"""Clusters with a life of their own: local ones that end, ones that run already, ones whose driver is killed.

Each is joined by a process of its own, since a process can be connected to one cluster only.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import Generated
from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.conftest import request
from selftaught_assets_tests.engines.processes import alive, command, kill, wait_for
from selftaught_assets_tests.engines.ray.sampled import ACTORS, ALONE, assert_same, sampled, tasks_sampled
from selftaught_assets_tests.ports import unused_port

NOBODY = "127.0.0.1:9"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray_clusters")]


def test_an_address_where_nobody_answers_is_the_users_mistake_soon_and_a_local_cluster_leaves_nothing_behind(
    model_folder: Path, tmp_path: Path
) -> None:
    outcome = _in_a_process("local", model_folder, tmp_path)
    refusal, *told = outcome.stdout.split("\n")
    assert refusal.startswith(f"No Ray cluster can be joined at `engine.address: {NOBODY}`"), outcome.stderr
    assert told == ["refused soon", "sampled 480", "processes left 0", "files left 0", ""]
    assert outcome.stderr == ""


def test_a_cluster_that_runs_is_left_running_and_so_is_somebody_elses_connection(
    with_token: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    outcome = _in_a_process("existing", model_folder, tmp_path, with_token)
    told = ["still connected", "sampled 480", "left", "joined again", ""]
    assert outcome.stdout.split("\n") == told, outcome.stderr


def test_the_user_is_told_that_a_cluster_may_ask_for_a_token(
    with_token: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # Ray sets it in a process that has had a local cluster.
    refused = _in_a_process("joined", model_folder, tmp_path, with_token).stdout
    assert refused.startswith(f"No Ray cluster can be joined at `engine.address: {with_token}`")
    assert refused.endswith("If the cluster asks for a token, set RAY_AUTH_MODE=token.\n")


def test_a_driver_that_is_killed_takes_its_cluster_along_and_the_rest_is_sampled_later(
    undisturbed: Generated, model: ModelReference, model_folder: Path, tmp_path: Path
) -> None:
    """But for two small agents of Ray, which look for their master for a minute."""
    journal = tmp_path / "journal"
    victim = subprocess.Popen(_command("killed", model_folder, journal))
    wait_for(lambda: list(journal.glob("*.parquet")))
    below = psutil.Process(victim.pid).children(recursive=True)
    below = [process for process in below if "Agent" not in command(process)]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    wait_for(lambda: not any(map(alive, below)))
    resumed = sampled(ALONE, model, Journal(journal))
    assert 0 < resumed.sampled.completions < 480
    assert_same(resumed.frame, undisturbed.frame)


@pytest.fixture(scope="module")
def with_token() -> Iterator[str]:
    """The address of a cluster that another team'started, which asks for a token; it must be there at the end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_TOKEN", "a" * 64)
        port = unused_port()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        options = ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
        head = subprocess.Popen(
            [*command, *options],
            env=os.environ | {"RAY_AUTH_MODE": "token"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"127.0.0.1:{port}"
            assert head.poll() is None
        finally:
            for process in [*psutil.Process(head.pid).children(recursive=True), head]:
                kill(process)
            head.wait()


def _command(life: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", __name__, life, *map(str, arguments)]


def _in_a_process(life: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(life, *arguments), capture_output=True, text=True, timeout=900)


def _local(model: ModelReference, folder: Path) -> None:
    import tempfile

    started = time.monotonic()
    _joined(model, folder, NOBODY)
    print("refused soon" if time.monotonic() - started < 60 else "refused late")  # Ray itself would try for minutes.
    tempfile.tempdir = f"/tmp/{folder.name[:4]}{os.getpid()}"  # Sockets lie there, and their paths must be short.
    Path(tempfile.tempdir).mkdir()
    with open_engine(ACTORS, model) as engine:
        print("sampled", tasks_sampled(engine, MemoryJournal()).frame.height)
        below = psutil.Process().children(recursive=True)
    psutil.wait_procs(below, timeout=120)  # A process that Ray has killed takes a moment to end.
    print("processes left", sum(map(alive, below)))
    print("files left", len(list(Path(tempfile.tempdir).iterdir())))
    Path(tempfile.tempdir).rmdir()


def _existing(model: ModelReference, folder: Path, address: str) -> None:
    import ray

    def join() -> None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
        except (ConnectionError, RuntimeError):
            return

    def joined() -> bool:
        join()
        return ray.is_initialized()

    wait_for(joined)
    with open_engine(ACTORS.model_copy(update={"replicas": 1}), model) as engine:
        list(engine.generate([request("abc")]))
    print("still connected" if ray.is_initialized() else "disconnected")
    ray.shutdown()
    settings = ACTORS.model_copy(update={"address": address, "replicas": 1})
    print("sampled", sampled(settings, model, MemoryJournal()).frame.height)
    print("connected" if ray.is_initialized() else "left")
    print("joined again" if joined() else "the cluster is gone")


def _joined(model: ModelReference, folder: Path, address: str) -> None:
    settings = ACTORS.model_copy(update={"address": address, "replicas": 1})
    try:
        with open_engine(settings, model) as engine:
            list(engine.generate([request("abc")]))
    except UserError as error:
        print(error)
    else:
        print("sampled")


def _killed(model: ModelReference, journal: Path) -> None:
    journalled.FLUSH_SECONDS = 0.0
    sampled(ACTORS.model_copy(update={"replicas": 1}), model, Journal(journal))


if __name__ == "__main__":
    life, model_path, path, *address = sys.argv[1:]
    lives = {"local": _local, "existing": _existing, "joined": _joined, "killed": _killed}
    lives[life](reference_model(Path(model_path)), Path(path), *address)
