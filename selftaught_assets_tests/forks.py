"""Processes that tests start by the dozen, forked from one that has imported everything: runs of Dagster, their steps,
trainings, and commands of `selftaught`.

Each is a process of its own that ends, as for a user; only its imports are spared. With imports and all, as a user's,
they are started in test_cli.py, training/test_launch.py, and for the first run of ui/test_dagster.py.

The forkserver imports this module too, after the modules that runs have imported.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import dagster._core.pipes.subprocess as pipes

from selftaught_assets.runs import PRELOADED

ADDRESS = "SELFTAUGHT_TESTS_FORKSERVER"
"""The environment variable that names the forkserver which a process shares with the one that started it."""
GIVE_WAY_SECONDS = 3.0
"""How long a forked run waits before it makes room for its predecessor. The ten seconds of a user would be idle."""


def context() -> ForkServerContext:
    """Starts processes from the one forkserver that this process and those that it forks have in common."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([*PRELOADED, __name__])
    return forked


def address() -> dict[str, str]:
    """A variable for a process that is to share the forkserver of this one, and must end before it (`share`)."""
    context()
    forkserver.ensure_running()
    return {ADDRESS: forkserver._forkserver._forkserver_address}


def share() -> None:
    """Uses the forkserver that the environment names. What it starts has the variables of the process that asks."""
    shared = forkserver._forkserver
    shared._forkserver_address = os.environ[ADDRESS]
    shared._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # It is another's to end.
    shared.ensure_running = resource_tracker.ensure_running
    ForkServerContext.Process = _InThisEnvironment


@contextmanager
def forked_trainings() -> Iterator[None]:
    """Trainings that are started meanwhile are forked."""
    fresh, pipes.Popen = pipes.Popen, _ForkedTraining
    try:
        yield
    finally:
        pipes.Popen = fresh


class _ForkedTraining:
    """What Dagster Pipes needs of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], cwd: str, env: Mapping[str, str], stdout: None, stderr: None) -> None:
        assert list(command[:2]) == [sys.executable, "-m"]
        self._process = context().Process(target=_run_module, args=(list(command[2:]), cwd, dict(env), os.getpid()))
        self._process.start()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("training", timeout)
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)


def forked_command(*arguments: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `selftaught` with these arguments, in a folder, with these variables and no others."""
    with begun_command(*arguments, folder=folder, environment=environment) as begun:
        return begun.ended()


class Begun(NamedTuple):
    """A command that works."""

    process: ForkServerProcess
    printed: list[Path]
    """Its standard output and standard error."""

    def signal(self, number: int) -> None:
        """Sends a signal to its process alone."""
        os.kill(self.process.pid, number)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """What it has printed and how it ended, once it has."""
        self.process.join()
        printed = (path.read_text() for path in self.printed)
        return subprocess.CompletedProcess((), self.process.exitcode, *printed)


@contextmanager
def begun_command(*arguments: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Begun]:
    """As `forked_command`, while it works; it is killed where the block ends before it does."""
    with TemporaryDirectory() as scratch:
        printed = [Path(scratch, name) for name in ("stdout", "stderr")]
        process = context().Process(target=_run_command, args=(arguments, folder, dict(environment), printed))
        process.start()
        try:
            yield Begun(process, printed)
        finally:
            process.kill()
            process.join()


def _run_command(arguments: Sequence[str], cwd: Path, environment: dict[str, str], printed: Sequence[Path]) -> None:
    from selftaught_assets.cli import main

    for stream, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    ForkServerContext.Process = _InThisEnvironment
    sys.argv = ["selftaught", *arguments]
    main()


class _InThisEnvironment(ForkServerProcess):
    """A process with the variables of the one that starts it, and not with those of the forkserver."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        ForkServerContext.Process = _InThisEnvironment  # Of what it starts in its turn.
        super().run()


def _run_module(arguments: list[str], cwd: str, environment: dict[str, str], parent: int) -> None:
    """`python -m` in a fork. Its parent is the forkserver, so it is told otherwise of the one that started it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    starter = multiprocessing.parent_process()
    os.getppid = lambda: parent if starter.is_alive() else 1
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _prepare() -> None:
    """In the forkserver: what trainings have imported, and what its children do."""
    from selftaught_assets.assets import publication
    from selftaught_assets.startup import importing
    from selftaught_assets.training.__main__ import PACKAGES, QUIET

    before = dict(os.environ)
    os.environ.update(QUIET)
    with importing():
        for name in (*PACKAGES, "transformers.models.llama.modeling_llama"):
            __import__(name)
    os.environ.clear()
    os.environ.update(before)
    atexit.register(gc.unfreeze)  # Else Triton's bindings report at the end that all of it has leaked.
    publication.GIVE_WAY_SECONDS = GIVE_WAY_SECONDS
    # Else a child would start a forkserver of its own for its steps.
    forkserver._forkserver.ensure_running = resource_tracker.ensure_running
    pipes.Popen = _ForkedTraining


if "from multiprocessing.forkserver import main" in sys.orig_argv[-1]:
    _prepare()
