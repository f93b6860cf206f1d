"""Clusters with a life of their own: local ones that end, ones that run already, ones whose driver is killed.

Each is joined by a process of its own, since a process can be connected to one cluster only.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import Generated
from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.conftest import request
from selftaught_assets_tests.engines.processes import alive, command, kill, wait_for
from selftaught_assets_tests.engines.ray.sampled import ACTORS, ALONE, assert_same, sampled
from selftaught_assets_tests.ports import unused_port

NOBODY = "127.0.0.1:9"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray_clusters")]


class Killed(NamedTuple):
    """A driver that was killed while it sampled on a local cluster of its own, after two that it could not join."""

    told: list[str]
    errors: str
    """What it and Ray wrote on the terminal besides."""
    journal: Path


@pytest.fixture(scope="module")
def killed(with_token: str, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Its cluster ends with it, but for two small agents of Ray, which look for their master for a minute."""
    journal = tmp_path_factory.mktemp("killed") / "journal"
    without_token = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    victim = subprocess.Popen(
        _command("killed", model_folder, journal, with_token),
        env=without_token,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(journal.glob("*.parquet")))
    below = psutil.Process(victim.pid).children(recursive=True)
    below = [process for process in below if "Agent" not in command(process)]
    victim.send_signal(signal.SIGKILL)
    told, errors = victim.communicate(timeout=300)
    wait_for(lambda: not any(map(alive, below)))
    return Killed(told.splitlines(), errors, journal)


def test_an_address_where_nobody_answers_is_the_users_mistake_soon(killed: Killed) -> None:
    assert killed.told[0].startswith(f"Cannot join a Ray cluster at `engine.address: {NOBODY}`")
    assert killed.told[1] == "refused soon"


def test_the_user_is_told_that_a_cluster_may_ask_for_a_token(killed: Killed, with_token: str) -> None:
    assert killed.told[2].startswith(f"Cannot join a Ray cluster at `engine.address: {with_token}`")
    assert killed.told[2].endswith("If the cluster requires a token, set RAY_AUTH_MODE=token.")
    assert len(killed.told) == 3


def test_the_terminal_stays_clean(killed: Killed) -> None:
    assert killed.errors == ""


def test_a_driver_that_is_killed_takes_its_cluster_along_and_the_rest_is_sampled_later(
    killed: Killed, undisturbed: Generated, model: ModelReference
) -> None:
    resumed = sampled(ALONE, model, Journal(killed.journal))
    assert 0 < resumed.sampled.completions < 480
    assert_same(resumed.frame, undisturbed.frame)


def test_a_cluster_that_runs_is_left_running_and_so_is_somebody_elses_connection(
    with_token: str, model_folder: Path, tmp_path: Path
) -> None:
    outcome = subprocess.run(
        _command("existing", model_folder, tmp_path, with_token),
        env=os.environ | {"RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = ["still connected", "sampled", "left", "joined again"]
    assert outcome.stdout.splitlines() == told, outcome.stderr


@pytest.fixture(scope="module")
def with_token() -> Iterator[str]:
    """The address of a cluster that another team started, which asks for a token; it must be there at the end."""
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
            wait_for(lambda: head.poll() is not None or _listens(port))
            yield f"127.0.0.1:{port}"
            assert head.poll() is None
        finally:
            for process in [*psutil.Process(head.pid).children(recursive=True), head]:
                kill(process)
            head.wait()


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _command(life: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", __name__, life, *map(str, arguments)]


def _existing(model: ModelReference, _: Path, address: str) -> None:
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
    print(_joined(model, address))
    print("connected" if ray.is_initialized() else "left")
    print("joined again" if joined() else "the cluster is gone")


def _joined(model: ModelReference, address: str) -> str:
    settings = ACTORS.model_copy(update={"address": address, "replicas": 1})
    try:
        with open_engine(settings, model) as engine:
            list(engine.generate([request("abc")]))
    except UserError as error:
        return str(error)
    return "sampled"


def _killed(model: ModelReference, journal: Path, address: str) -> None:
    started = time.monotonic()
    print(_joined(model, NOBODY))
    print("refused soon" if time.monotonic() - started < 60 else "refused late")  # Ray itself would try for minutes.
    print(_joined(model, address), flush=True)
    journalled.FLUSH_SECONDS = 0.0
    sampled(ACTORS.model_copy(update={"replicas": 1}), model, Journal(journal))


if __name__ == "__main__":
    life, model_path, path, address = sys.argv[1:]
    lives = {"existing": _existing, "killed": _killed}
    lives[life](reference_model(Path(model_path)), Path(path), address)
