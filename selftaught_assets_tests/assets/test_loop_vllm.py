"""An iteration whose every model is vLLM's: real sampling, training in between, and the gate."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.engines.processes import children, needs_vllm

MADE = ["instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint"]
"""Without `evaluation`: the gate samples as it does, and each asset starts vLLM anew."""


@pytest.mark.slow
@needs_vllm
def test_an_iteration_through_vllm_ends_with_a_judge_and_without_a_process(tmp_path: Path) -> None:
    before = children()
    path = write_small_recipe(
        tmp_path,
        engine={"name": "vllm", "eager": True, "context": 512},
        handover={"promote": "not_worse", "validation": "tiny"},
    )
    (tmp_path / "home").mkdir()
    loop = Loop(load_recipe(str(path)), tmp_path / "data", dg.DagsterInstance.local_temp(str(tmp_path / "home")))
    loop.run("prepare", assets=["instruction_pool", "seed_model", "benchmarks"])
    loop.run("iteration", "iteration_01", MADE)
    kept = loop.table("filtered_set", "iteration_01").filter(pl.col("drop_reason").is_null())
    assert set(kept["label"]) == {"A", "B"}
    assert loop.metadata("judgments", "iteration_01")["completions_failed"] == 0
    assert loop.metadata("checkpoint", "iteration_01")["validation_benchmark"] == "tiny"
    assert children() <= before
