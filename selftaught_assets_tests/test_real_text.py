"""The graph on real text, with a recipe and no code: a judge that knows no English is measured, and nothing crashes."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import ROOT

pytestmark = pytest.mark.slow

PAIRS = 20
SHORT = {"max_tokens": 24}


@pytest.fixture(scope="module")
def loop(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The seed model, measured on the first pairs of a real benchmark."""
    folder = tmp_path_factory.mktemp("real")
    head = (real_data / "benchmarks" / "llmbar.jsonl").read_text(encoding="utf-8").split("\n")[:PAIRS]
    (folder / "benchmark.jsonl").write_text("\n".join(head) + "\n", encoding="utf-8")
    recipe = {
        "name": "real",
        "iterations": 1,
        "pool": {"path": str(real_data / "pools" / "self_instruct.jsonl"), "id_field": "id"},
        "benchmarks": [{"name": "llmbar", "path": "benchmark.jsonl"}],
        "seed_model": str(ROOT / "models" / "seed"),
        "instructions": {"count": 12},
        "pairs": {"response": SHORT, "modification": SHORT, "min_valid_share": 0.0},
        "judgments": {"n": 2, "sampling": SHORT},
        "training": {"epochs": 1},
        "evaluation": {"votes": 2, "sampling": SHORT},
    }
    (folder / "real.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        loop = Loop(load_recipe(str(folder / "real.yaml")), folder / "data", instance)
        loop.run("prepare")
        yield loop


def test_seed_model_is_measured_with_interval_and_invalid_share(loop: Loop) -> None:
    made = loop.metadata("seed_evaluation")
    assert made["verdicts"] == 2 * PAIRS
    assert 0 <= made["accuracy_low"] <= made["accuracy"] <= made["accuracy_high"] <= 1
    assert made["accuracy"] + made["invalid_share"] <= 1


def test_pair_that_is_longer_than_the_context_has_an_invalid_verdict_in_both_orders(loop: Loop) -> None:
    table = loop.table("seed_evaluation")
    assert table.height == PAIRS * 2 * 2
    longest = (
        loop.table("benchmarks")
        .with_columns(length=pl.sum_horizontal(pl.col("instruction", "response_a", "response_b").str.len_bytes()))
        .sort("length")["item_id"][-1]
    )
    verdicts = table.filter((pl.col("item_id") == longest) & (pl.col("decoding") == "greedy"))
    assert verdicts["order"].to_list() == ["AB", "BA"]
    assert verdicts["verdict"].to_list() == [None, None]
    assert verdicts["votes_invalid"].to_list() == [1, 1]


def test_iteration_succeeds_or_says_in_one_sentence_why_it_cannot(loop: Loop) -> None:
    job = loop.definitions.resolve_job_def("real_iteration")
    result = job.execute_in_process(instance=loop.instance, partition_key="iteration_01", raise_on_error=False)
    pairs = loop.table("pairs", "iteration_01")
    assert pairs.height == 12
    if not result.success:
        said = sentences(result)
        failed_checks = [check for check in result.get_asset_check_evaluations() if not check.passed]
        assert said or failed_checks
        for sentence in [*said, *(check.description for check in failed_checks)]:
            assert sentence.endswith(".")
            assert "\n" not in sentence
            assert "Error" not in sentence
