"""An iteration whose judgments are vLLM's: real sampling, and training after it."""

from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.engines.vllm.base import cpu_arguments
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, open_loop
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.engines.processes import VLLM, children, needs_vllm

pytestmark = pytest.mark.xdist_group(VLLM)

FIRST = "iteration_01"
VLLM_ENGINE = {"name": "vllm", "eager": True, "context": 512, "max_rows": 32}


@needs_vllm
def test_judging_through_vllm_and_training_after_it_leave_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage starts vLLM again, so it is asked for judgments alone, and told its memory in bytes."""
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")  # It would overrule them.
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    before = children()
    embedded, vllm = (load_recipe(str(write_small_recipe(tmp_path, engine=engine))) for engine in ({}, VLLM_ENGINE))
    assert "kv_cache_memory_bytes" in cpu_arguments(vllm.engine, vllm.seed_model, "float32")
    with open_loop(embedded, tmp_path) as loop:
        loop.run("prepare", assets=["instruction_pool", "seed_model"])
        loop.run("iteration", FIRST, ["instructions", "pairs"])
        loop = Loop(vllm, loop.layout.root, loop.instance)
        loop.run("iteration", FIRST, ["judge", "judgments", "filtered_set", "checkpoint"])
        kept = loop.table("filtered_set", FIRST).filter(pl.col("drop_reason").is_null())
        assert set(kept["label"]) == {"A", "B"}
        assert loop.metadata("judgments", FIRST)["completions_failed"] == 0
    assert children() <= before
