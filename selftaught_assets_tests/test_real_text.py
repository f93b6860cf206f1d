"""The graph on English text, with a recipe and no code: a judge that knows none is measured, and nothing crashes."""

import json
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
import yaml

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import ROOT

pytestmark = pytest.mark.slow

SHORT = {"max_tokens": 24}

ANSWERS = {
    "Name three fruits that grow on trees.": "Apples, pears and cherries.",
    "Write a polite sentence that declines an invitation.": "Thank you for asking me, but I cannot come on Friday.",
    "What is the capital of Norway?": "The capital of Norway is Oslo.",
    "Translate “good morning” into French.": "« Bonjour »",
    "Explain in one sentence why the sky is blue.": "Air scatters blue light more than red light.",
    "Turn this into a question: The train leaves at noon.": "Does the train leave at noon?",
    "Give a synonym for “quick”.": "Fast.",
    "List the primary colours.": "1. Red\n2. Yellow\n3. Blue",
    "Write a Python expression that squares each number in xs.": "`[x ** 2 for x in xs]`",
    "How many minutes are there in three hours?": "3 × 60 = **180** minutes.",
    "Suggest a title for a story about a lighthouse keeper.": "The Last Lamp",
    "Is a whale a fish? Answer briefly.": "No: a whale is a mammal \U0001f40b.",
}
"""Instructions with an answer each."""
LONG = "The lamp is lit when the sun goes down, and the keeper writes the hour into his book. " * 40
PAIRS = [
    {"id": str(place), "instruction": instruction, "response_a": right, "response_b": wrong, "label": "A"}
    for place, ((instruction, right), wrong) in enumerate(
        zip(ANSWERS.items(), [*list(ANSWERS.values())[1:], LONG], strict=True)
    )
]
"""Each with the answer to another instruction, the last with one that no context of the seed model holds."""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The seed model, measured on the pairs above."""
    folder = tmp_path_factory.mktemp("real")
    pool = [{"instruction": f"{text} Then say how you know."} for text in ANSWERS]
    for name, rows in (("pool", pool), ("benchmark", PAIRS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "name": "real",
        "iterations": 1,
        "pool": {"path": "pool.jsonl"},
        "benchmarks": [{"name": "english", "path": "benchmark.jsonl"}],
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
    assert made["verdicts"] == 2 * len(PAIRS)
    assert 0 <= made["accuracy_low"] <= made["accuracy"] <= made["accuracy_high"] <= 1
    assert made["accuracy"] + made["invalid_share"] <= 1


def test_pair_that_is_longer_than_the_context_has_an_invalid_verdict_in_both_orders(loop: Loop) -> None:
    table = loop.table("seed_evaluation")
    assert table.height == len(PAIRS) * 2 * 2
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
        (["filtered_set"], "The number of examples to train on is 0 (at least 1 is required)"),
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
