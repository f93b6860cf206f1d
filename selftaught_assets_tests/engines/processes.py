"""Processes that engines start, as tests see them, and the mark of the tests that need vLLM."""

from importlib.util import find_spec

import psutil
import pytest

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")


def children() -> set[psutil.Process]:
    """Processes below this one, but for the tracker that multiprocessing leaves running."""
    found = psutil.Process().children(recursive=True)
    commands = [" ".join(process.as_dict(["cmdline"])["cmdline"] or []) for process in found]
    return {process for process, command in zip(found, commands, strict=True) if "resource_tracker" not in command}
