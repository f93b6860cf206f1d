"""`selftaught serve` as a user runs it: a process, a signal, its log."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from selftaught_assets_tests.command_line import SELFTAUGHT, selftaught
from selftaught_assets_tests.judge.conftest import Workplace

WITHOUT_FASTAPI = "import sys; sys.modules['fastapi'] = None; from selftaught_assets.cli import main; main()"
TOKEN = "correct-horse-battery"


@contextmanager
def _serving(workplace: Workplace, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The running process and its address, once it answers."""
    command = [*SELFTAUGHT, "serve", "--port", "0", "--token-env", "JUDGE_TOKEN"]
    command += ["--recipe", str(workplace.recipe_path)]
    environment = os.environ | {"SELFTAUGHT_DATA": str(workplace.data), "JUDGE_TOKEN": TOKEN}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 600
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert time.monotonic() < deadline
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        yield server, found.group()
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_what_is_in_flight_is_finished_before_the_service_ends_and_the_token_is_never_logged(
    workplace: Workplace, tmp_path: Path
) -> None:
    body = {"instruction": "Number of tools : gauge ochre red", "votes": 256}
    admitted = {"Authorization": f"Bearer {TOKEN}"}
    log = tmp_path / "log"
    with _serving(workplace, log) as (server, address), ThreadPoolExecutor(32) as connections:
        assert httpx.get(f"{address}/health").json()["judge"] == "iteration_03"
        assert httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
        asked = [
            connections.submit(
                httpx.post, f"{address}/v1/score", json=body | {"response": str(n)}, headers=admitted, timeout=120
            )
            for n in range(32)
        ]
        done = in_flight = 0
        while done + in_flight < len(asked):  # A request that has not arrived would be refused, not finished.
            done = sum(answer.done() for answer in asked)
            in_flight = _in_flight(address, admitted)
        assert in_flight > 0
        server.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in asked] == [200] * 32
        assert [len(answer.result().json()["ratings"]) for answer in asked] == [256] * 32
        assert server.wait(timeout=60) == 0
    said = log.read_text()
    assert TOKEN not in said
    assert "Traceback" not in said


def _in_flight(address: str, headers: dict[str, str]) -> int:
    said = httpx.get(f"{address}/metrics", headers=headers).text
    found = re.search(r'^selftaught_requests_in_flight\{path="/v1/score"\} (\S+)$', said, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_FASTAPI, "serve"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: `selftaught serve` needs the package fastapi: install selftaught-assets[serve].\n"


def test_a_token_that_is_not_there_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    done = selftaught("serve", "--token-env", "NO_SUCH_TOKEN", folder=tmp_path, NO_SUCH_TOKEN=" ")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The environment variable NO_SUCH_TOKEN holds no token")
    assert done.stderr.count("\n") == 1


def test_an_engine_that_is_none_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    done = selftaught("serve", "--judge", "seed", "--engine", "{name: openai, model: seed}", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Error: The engine '{name: openai, model: seed}': field `openai.address` is missing.\n"


def test_the_command_line_starts_without_the_packages_of_the_service() -> None:
    heavy = ("fastapi", "uvicorn", "prometheus_client", "polars", "torch", "transformers", "dagster")
    code = f"import sys, selftaught_assets.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_judge_in_python_needs_no_package_of_the_service() -> None:
    code = "import sys; from selftaught_assets.judge import Judge; print('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
