"""Processes that engines start, as tests see them, and the mark of the tests that need vLLM."""

import contextlib
import time
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing import forkserver

import psutil
import pytest

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
VLLM = "vllm"
"""The group of the tests that run vLLM in their own process, which imports it for ten seconds."""


def children() -> set[psutil.Process]:
    """Processes below this one, but for the tracker and the forkserver that multiprocessing leaves running."""
    found = psutil.Process().children(recursive=True)
    return {
        process
        for process in found
        if process.is_running()
        and process.pid != forkserver._forkserver._forkserver_pid
        and "resource_tracker" not in command(process)
    }


def command(process: psutil.Process) -> str:
    """Its command line; empty for one that ended since it was listed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def wait_for(happened: Callable[[], object], seconds: float = 300) -> None:
    """Looks twenty times a second at first, and less often the longer it takes: to look is work, too."""
    started = time.monotonic()
    while not happened():
        waited = time.monotonic() - started
        assert waited < seconds, "it did not happen in time"
        time.sleep(min(0.05 + waited / 20, 0.5))
