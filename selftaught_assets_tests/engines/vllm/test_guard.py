"""Processes whose parent is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

from selftaught_assets.engines.vllm import guard
from selftaught_assets_tests.engines.processes import alive, wait_for

PARENT = """
import subprocess, sys, time
import psutil
from selftaught_assets.engines.vllm.guard import guarded_start

def until_the_guard_has_looked():
    (guard,) = [child for child in psutil.Process().children() if "guard.py" in " ".join(child.cmdline())]
    before = guard.num_ctx_switches().voluntary  # It sleeps after each look.
    while guard.num_ctx_switches().voluntary < before + 3:
        time.sleep(0.02)

bystander = subprocess.Popen(["sleep", "600"])
with guarded_start() as release:
    started = subprocess.Popen({command})
    {inside}
print(bystander.pid, started.pid, flush=True)
{after}
time.sleep(600)
"""


def run_parent(
    command: Sequence[str] = ("sleep", "600"), *, inside: str = "pass", after: str = ""
) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A parent with a process that was there before, and one that it started under guard, with this command."""
    script = PARENT.format(command=list(command), inside=inside, after=after)
    command = [sys.executable, "-c", script]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return parent, [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]


def test_what_started_under_guard_ends_with_a_parent_that_is_killed_and_nothing_else_does() -> None:
    """Also what that has started in its turn, as vLLM's engine starts its worker."""
    inside = "while not psutil.Process(started.pid).children(): time.sleep(0.01)\n    until_the_guard_has_looked()"
    parent, (bystander, started) = run_parent(["sh", "-c", "sleep 600; true"], inside=inside)
    (below,) = started.children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([started, below], timeout=120)
    assert not started.is_running()
    assert not below.is_running()
    assert bystander.is_running()
    bystander.kill()


def test_a_parent_killed_in_the_middle_of_the_start_leaves_nothing_either() -> None:
    inside = "until_the_guard_has_looked(); print(bystander.pid, started.pid, flush=True); time.sleep(600)"
    parent, (bystander, started) = run_parent(inside=inside)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([started], timeout=120)
    assert not started.is_running()
    bystander.kill()


def test_a_guard_that_is_released_is_gone() -> None:
    after = "sys.stdin.readline(); started.kill(); started.wait(); release(); print(flush=True)"
    parent, (bystander, _) = run_parent(after=after)
    parent.stdin.write("\n")
    parent.stdin.flush()
    parent.stdout.readline()
    assert psutil.Process(parent.pid).children() == [bystander]
    for process in (bystander, parent):
        process.kill()
    parent.wait()


def test_one_that_has_ended_hides_no_other() -> None:
    ended, goes_on = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "600"])
    wait_for(lambda: not alive(psutil.Process(ended.pid)))
    found = {process.pid for process in guard._descendants(psutil.Process())}
    goes_on.kill()
    ended.wait()
    goes_on.wait()
    assert goes_on.pid in found
