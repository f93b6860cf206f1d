"""A real vLLM server on loopback, in processes of its own: no tests here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from selftaught_assets.recipe.engines import OpenAISettings
from selftaught_assets_tests.ports import unused_port

SECONDS_TO_START = 300
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


class VllmServer:
    """Serves a model folder under the name `seed`, always on the same port."""

    def __init__(self, model: Path, log: Path, arguments: Sequence[str]) -> None:
        self.log = log
        self._port = unused_port()
        self.address = f"http://127.0.0.1:{self._port}/v1"
        # Not `vllm serve`: that looks for a package named vllm, and the one for processors is vllm-cpu.
        self._command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}"]
        self._command += ["--served-model-name=seed", "--host=127.0.0.1", f"--port={self._port}", "--dtype=float32"]
        self._command += ["--block-size=32", "--enforce-eager", "--enable-lora", "--enable-prompt-tokens-details"]
        # On a CPU, vLLM 0.32 ends with "CPU Generator does not use offset" once it computes a prompt in parts whose
        # request has a seed.
        self._command += ["--no-enable-chunked-prefill", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
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


@contextmanager
def vllm_serving(model: Path, log: Path, *arguments: str) -> Iterator[VllmServer]:
    """A server that answers; it is killed at the end of the block.

    Args:
        model: folder.
        log: file for what it prints.
        arguments: of `vllm serve`, besides those that every test wants.
    """
    server = VllmServer(model, log, arguments)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def openai_on_vllm(model: Path) -> Iterator[OpenAISettings]:
    """Settings of the openai engine for a server of a model, while it runs."""
    with TemporaryDirectory() as folder, vllm_serving(model, Path(folder) / "log") as server:
        yield OpenAISettings(name="openai", address=server.address, model="seed", identity="seed-1")
