"""What the steps of a run find imported."""

import json
import subprocess
import sys

import pytest

IN_A_PROCESS = """
import gc, importlib, json, sys, threading
from selftaught_assets.runs import PRELOADED

for name in PRELOADED:
    importlib.import_module(name)
from selftaught_assets.preload import MODULES
print(json.dumps({
    "imported": all(name in sys.modules for name in MODULES),
    "threads": [thread.name for thread in threading.enumerate()],
    "collects": gc.isenabled(),
    "frozen": gc.get_freeze_count(),
}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_all_modules_are_there_without_a_thread_that_a_fork_would_lose(found: dict[str, object]) -> None:
    assert found["imported"]
    assert found["threads"] == ["MainThread"]


@pytest.mark.slow
def test_what_is_imported_is_never_collected_and_the_rest_is(found: dict[str, object]) -> None:
    assert found["frozen"] > 100_000
    assert found["collects"]
