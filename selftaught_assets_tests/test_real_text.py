"""The graph on real text, with a recipe and no code: a judge that knows no English is measured, and nothing crashes."""

from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
import yaml

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import REAL_DATA, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"the real data is not here: {REAL_DATA} does not exist"),
]

PAIRS = 20
SHORT = {"max_tokens": 24}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The seed model, measured on the first pairs of a real benchmark."""
    folder = tmp_path_factory.mktemp("real")
    head = (REAL_DATA / "benchmarks" / "llmbar.jsonl").read_text(encoding="utf-8").split("\n")[:PAIRS]
    (folder / "benchmark.jsonl").write_text("\n".join(head) + "\n", encoding="utf-8")
    recipe = {
        "name": "real",
        "iterations": 1,
        "pool": {"path": str(REAL_DATA / "pools" / "self_instruct.jsonl"), "id_field": "id"},
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


def test_iteration_ends_well_or_with_one_sentence(loop: Loop) -> None:
    job = loop.definitions.resolve_job_def("real_iteration")
    result = job.execute_in_process(instance=loop.instance, partition_key="iteration_01", raise_on_error=False)
    assert loop.table("pairs", "iteration_01").height == 12
    assert result.success or _reasons(result)


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        (["judge", "judgments"], None),
        (["filtered_set"], "The number of examples to train on is 0 (at least 1 is demanded)"),
        (["checkpoint"], "has nothing to train on: of 0 examples"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_stage_that_is_made_of_no_valid_pair_does_not_crash(loop: Loop, stages: list[str], reason: str | None) -> None:
    pairs = loop.table("pairs", "iteration_01")
    pairs.with_columns(drop_reason=pl.lit("truncated")).write_parquet(loop.layout.table("pairs", "iteration_01"))
    result = loop.run("iteration", "iteration_01", stages, fails=reason is not None)
    said = _reasons(result)
    assert [reason in sentence for sentence in said] == [True] if reason else said == []


def _reasons(result: dg.ExecuteInProcessResult) -> list[str]:
    """One sentence for each failed step: its own, or that of the check that stopped the run."""
    checks = [
        check.description
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    ]
    steps = [sentence for sentence in sentences(result) if "DagsterAssetCheckFailedError" not in sentence]
    assert not [sentence for sentence in [*checks, *steps] if "\n" in sentence or "Error" in sentence]
    return [*checks, *steps]
