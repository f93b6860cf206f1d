"""The cluster that the ray engine works on: another team's, or a local one that lives as long as the engine."""

import logging
import math
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import RaySettings

_OBJECT_STORE_BYTES = 256 * 2**20
"""Of a local cluster. Only a few batches and completions are in it at a time."""
_ANSWER_SECONDS = 10.0
_ROOM_SECONDS = 30.0


@dataclass
class _Connection:
    """This process's one connection to Ray, where it is ours: Ray allows no second one."""

    folder: str | None
    """Of a local cluster's logs and sockets."""
    engines: int = 0


_connection: _Connection | None = None


@contextmanager
def connected(settings: RaySettings) -> Iterator[None]:
    """Connects this process to the recipe's cluster; at the end a local one is gone, and another is left as it was.

    A process that is connected already works on the cluster that it has. Whoever connected it is not disconnected, and
    of several engines the last one ends the connection.

    Raises:
        UserError: Ray is not installed, nobody answers at the address, or the replicas have no room there.
    """
    global _connection
    if find_spec("ray") is None:
        raise UserError(
            "The recipe asks for `engine: ray`, which is not installed: run `pip install 'selftaught-assets[ray]'`."
        )
    import ray

    if not ray.is_initialized():
        _connection = _start() if settings.address is None else _connect(settings.address)
    ours = _connection
    if ours is None:
        _require_room(settings)
        yield
        return
    ours.engines += 1
    try:
        _require_room(settings)
        if ours.folder is not None:
            _require_free_room(settings)
        yield
    finally:
        ours.engines -= 1
        if ours.engines == 0:
            _connection = None
            ray.shutdown()
            if ours.folder is not None:
                shutil.rmtree(ours.folder, ignore_errors=True)


def actor_options(settings: RaySettings) -> dict[str, object]:
    """How Ray starts an actor: its share of a machine, and an environment in which it uses no more than that."""
    environment = {"OMP_NUM_THREADS": str(max(1, int(settings.cpus)))}
    if settings.gpus == 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if settings.address is None:  # Elsewhere the code is what is installed there.
        source = str(Path(__file__).resolve().parents[3])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return {
        "num_cpus": settings.cpus,
        "num_gpus": settings.gpus,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": environment},
    }


def _start() -> _Connection:
    import ray

    folder = tempfile.mkdtemp(prefix="ray-")
    with _silence():
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=folder,
            _system_config={"prestart_worker_first_driver": False},
        )
    return _Connection(folder)


def _connect(address: str) -> _Connection:
    import ray

    try:
        _require_listener(address)
        with _silence():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Cannot join a Ray cluster at `engine.address: {address}` ({' '.join(str(error).split())[:300]}): "
            "start it with `ray start --head`, correct the address, or leave it out for a local one. If the cluster "
            "requires a token, set RAY_AUTH_MODE=token."
        ) from None
    return _Connection(None)


def _require_listener(address: str) -> None:
    """Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


def _require_room(settings: RaySettings) -> None:
    """Counts what the machines have in all: others may be at work there, and their room is waited for."""
    import ray

    room = sum(_replicas_on(node["Resources"], settings) for node in ray.nodes() if node["Alive"])
    if room < settings.replicas:
        where = "this machine" if settings.address is None else f"the Ray cluster at {settings.address}"
        raise UserError(
            f"The recipe asks for {settings.replicas} replicas with {settings.cpus:g} CPUs and {settings.gpus:g} GPUs "
            f"each, but {where} has room for {room:g}: lower `engine.replicas`, `engine.cpus` or `engine.gpus`, or add "
            "machines."
        )


def _require_free_room(settings: RaySettings) -> None:
    """On a local cluster nobody but this process can make room; what it has just given back takes Ray a moment."""
    import ray

    deadline = time.monotonic() + _ROOM_SECONDS
    while _replicas_on(ray.available_resources(), settings) < settings.replicas:
        if time.monotonic() > deadline:
            raise UserError(
                "The local Ray cluster of this process has no room left for the recipe's replicas next to the "
                "open engines: close one, or lower `engine.replicas`, `engine.cpus` or `engine.gpus`."
            )
        time.sleep(0.1)


def _replicas_on(resources: dict[str, float], settings: RaySettings) -> float:
    needs = {"CPU": settings.cpus, "GPU": settings.gpus}
    return min((resources.get(kind, 0) // need for kind, need in needs.items() if need), default=math.inf)


@contextmanager
def _silence() -> Iterator[None]:
    """Sends no statistics, and keeps the terminal clean: errors reach the user as exceptions.

    Ray's own log level silences what its C++ part prints later; that the level was set, it prints here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
