"""What tests of several rooms share: a small recipe on the real seed model, and where real data lies."""

import atexit
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from upath import UPath

from selftaught_assets.recipe import Recipe, load_recipe

pytest_plugins = [
    "selftaught_assets_tests.groups",
    "selftaught_assets_tests.assets.trained",
    "selftaught_assets_tests.vllm_server",
    "selftaught_assets_tests.wheel",
]

os.environ |= {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "RAY_worker_niceness": "0",  # Actors that give way to all other tests keep their own waiting.
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: a share of the memory would depend on what else runs.
    # vLLM's engine holds the model itself, as with one GPU. Where this is "1" to the letter, as in `opened_vllm` and
    # assets/test_loop_vllm.py, it starts a worker for it on a CPU, which imports everything once more.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "01",
}
if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anyone imports torch: workers with two threads each would slow one another many times.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

QUICK_PYTHON = str(Path(__file__).resolve().parent / "quick_python")
"""Python imports what is in there at the start of each process that tests start."""
if QUICK_PYTHON not in os.environ.get("PYTHONPATH", ""):  # As it is in the workers of pytest-xdist.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (QUICK_PYTHON, os.environ.get("PYTHONPATH"))))

# Dagster commits each event to a disk, and a journal each shard: a third of the time of a run, which in memory is none.
MEMORY, GIBIBYTES_NEEDED = Path("/dev/shm"), 4
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > GIBIBYTES_NEEDED * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    os.environ.setdefault("TMPDIR", str(MEMORY))  # Of Python's own temporary folders.
    tempfile.tempdir = None  # Else the folder that was asked for before stays.

# How fast an example is says more about the machine than about the code.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA_VARIABLE = "SELFTAUGHT_REAL_DATA"
"""The environment variable that names a folder of published pools, benchmarks and judgments, which are not ours to
ship: `pools/`, `benchmarks/` and `judge_texts/`, as CONTRIBUTING.md lists them."""

SMALL = {
    "name": "small",
    "seed": 7,
    "iterations": 3,
    "pool": {"path": "pool.jsonl"},
    "benchmarks": [{"name": "tiny", "path": "benchmark.jsonl"}],
    "seed_model": str(ROOT / "models" / "seed"),
    "try_training": False,
    "prompts": str(ROOT / "recipes" / "tinyworld" / "prompts"),
    "instructions": {"count": 40},
    "pairs": {"form": "two_calls", "response": {"max_tokens": 24}, "modification": {"max_tokens": 32}},
    "judgments": {"n": 4, "sampling": {"max_tokens": 96}},
    "filter": {"label_tolerance": 0.0},
    "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 0, "max_tokens": 256},
    "evaluation": {"votes": 3, "sampling": {"max_tokens": 96}},
}
"""The whole loop in seconds: 40 instructions, 12 benchmark pairs."""


class Garbage:
    """A pytest plugin: what is imported is not looked through for garbage.

    An engine that is closed has all garbage collected. In a process that has imported everything this takes half a
    second, unless what was imported is frozen, as it is in the steps of a run.
    """

    file: Path | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """All tests are imported, which takes two thirds of the time."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.enable()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before the first test of a file: freezes what the tests before it have left, mostly modules."""
        if item.path != self.file:
            self.file = item.path
            gc.collect()
            gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Garbage())
    # Else libraries report at the end that it has leaked. Not before: pytest collects all garbage when it is done.
    atexit.register(gc.unfreeze)


def write_small_recipe(folder: Path, **overrides: Any) -> Path:
    """Writes the small recipe with its pool and benchmark into a folder; overrides replace whole sections."""
    for source, target, lines in (("pool", "pool.jsonl", 80), ("benchmark", "benchmark.jsonl", 12)):
        head = (ROOT / "recipes" / "tinyworld" / f"{source}.jsonl").read_text(encoding="utf-8").split("\n")[:lines]
        (folder / target).write_text("\n".join(head) + "\n", encoding="utf-8")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | overrides), encoding="utf-8")
    return path


@pytest.fixture
def small_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Makes the small recipe, with sections replaced, in the test's own folder."""
    return lambda **overrides: load_recipe(str(write_small_recipe(tmp_path, **overrides)))


@pytest.fixture
def real_data() -> Path:
    """The folder of published data that the environment names; the test is skipped where it names none."""
    named = os.environ.get(REAL_DATA_VARIABLE)
    if not named:
        pytest.skip(f"{REAL_DATA_VARIABLE} names no folder of published data")
    folder = Path(named)
    assert folder.is_dir(), f"{REAL_DATA_VARIABLE} is {named}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """A local server of S3 with the bucket `bucket`, named by the environment as a user would; gives its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # It logs each request.
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    account = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (account | {"AWS_ENDPOINT_URL": address}).items():
            patched.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield address
    server.stop()


@pytest.fixture
def bucket(object_store: str, request: pytest.FixtureRequest) -> UPath:
    """A prefix in the object store for this test alone."""
    return UPath(f"s3://bucket/{request.node.name}")
