"""The results of each stage on small fixed inputs, beside the version of its code.

A change of a result makes what was stored before stale, and the version is how stored results know. So where one of
these tests fails, raise the version in staleness.py, and write both down here. Where only the version was raised, the
digest stays. `report` has no result that anything is made of.
"""

from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import polars as pl
import pytest
import torch

from selftaught_assets import staleness
from selftaught_assets.engines.chat import training_example
from selftaught_assets.engines.drawing import draw, stream_keys, uniforms
from selftaught_assets.method.identity import derive_seed, digest
from selftaught_assets.method.pairs import split_modified_pair
from selftaught_assets.method.prompts import (
    judge_messages,
    modified_instruction_messages,
    modified_pair_messages,
    response_messages,
    score_messages,
)
from selftaught_assets.method.scoring.results import flat_numbers, measure
from selftaught_assets.method.verdicts import VerdictFormat, parse_verdicts
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.models import reference_model
from selftaught_assets.storage.tables import table_version
from selftaught_assets_tests.checks.tables import Tables, make_tables, write_recipe
from selftaught_assets_tests.conftest import ROOT

GOLDEN = {
    "instruction_pool": (1, "4e0bdd596b9de356"),
    "seed_model": (1, "c01ef426a6423b38"),
    "benchmarks": (1, "b7e94ebfa414a8fb"),
    "instructions": (1, "fd12368595ebec45"),
    "pairs": (1, "8f563a0c7352ea4b"),
    "judge": (1, "c01ef426a6423b38"),
    "judgments": (1, "50cae3bd5e3713a6"),
    "filtered_set": (1, "489beee5ce0db8d4"),
    "evaluation": (1, "b818564b7103be86"),
    "seed_evaluation": (1, "c76393960144b7e4"),
    "progress": (1, "7ea1122b98979542"),
}
"""By stage: version of its code, digest of its result. `checkpoint`: training/test_trainer.py."""

SAMPLING = (1, "b20902d0c0ebddaf")

JUDGMENTS = [
    "A is better. [[A]]",
    "[[B]] at first, but then [[A]]",
    "<think>[[A]]</think> I prefer [[B]].",
    "**[[A]]**",
    "[[C]]",
    "[[a]]",
    "[[A>>B]]",
    "[[A=B]]",
    "Output (a) is better",
    "Output (b) is better.",
    '{"verdict": "A"}',
    '{"verdict": "tie"}',
    "<answer>[[B]]</answer>",
    "no verdict",
    "",
]
WRITTEN = [
    "[[instruction]] Count. [[response]] 1 2",
    "<think>[[instruction]]</think>[[instruction]]a[[response]]b",
    "**[[instruction]]**\nCount.\n**[[response]]**\n1 2",
    "`[[instruction]]`: Count. `[[response]]`: 1 2 [[/response]]",
    "[[response]] 1 [[instruction]] 2",
    "[[instruction]] only",
    "",
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_recipe(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def tables(recipe: Recipe) -> Tables:
    return make_tables(recipe)


def _table(name: str, recipe: Recipe, tables: Tables) -> object:
    return table_version(tables[name])


def _model(recipe: Recipe, tables: Tables) -> object:
    return reference_model(ROOT / "models" / "seed").digest


def _pairs(recipe: Recipe, tables: Tables) -> object:
    asked = [
        response_messages(recipe.templates, "Count."),
        modified_instruction_messages(recipe.templates, "Count.", "1 2"),
        modified_pair_messages(recipe.templates, "Count.", "1 2"),
    ]
    return _table("pairs", recipe, tables), asked, [split_modified_pair(text) for text in WRITTEN]


def _judged(name: str, recipe: Recipe, tables: Tables) -> object:
    read = [
        parse_verdicts(pl.Series(JUDGMENTS), form, ties=ties).to_list()
        for form in get_args(VerdictFormat)
        for ties in (False, True)
    ]
    question = "Count.", "1 2", "2 1"
    asked = [
        judge_messages(recipe.templates, *question, reference, ties=ties)
        for reference in (None, "1")
        for ties in (False, True)
    ]
    asked.append(score_messages(recipe.templates, "Count.", "1 2", None) if recipe.templates.score else [])
    return _table(name, recipe, tables), read, asked, derive_seed(1, "judgment", "id")


def _progress(recipe: Recipe, tables: Tables) -> object:
    verdicts = {
        name: tables[name].filter(pl.col("benchmark") == recipe.benchmarks[0].name)
        for name in ("seed_evaluation", "evaluation")
    }
    seed = verdicts["seed_evaluation"]
    numbers = flat_numbers(measure(verdicts["evaluation"], seed=seed, previous=seed, form="pairs"))
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in numbers.items()}


RESULTS: dict[str, Callable[[Recipe, Tables], object]] = {
    "instruction_pool": partial(_table, "instruction_pool"),
    "seed_model": _model,
    "benchmarks": partial(_table, "benchmarks"),
    "instructions": partial(_table, "instructions"),
    "pairs": _pairs,
    "judge": _model,
    "judgments": partial(_judged, "judgments"),
    "filtered_set": partial(_judged, "filtered_set"),
    "evaluation": partial(_judged, "evaluation"),
    "seed_evaluation": partial(_judged, "seed_evaluation"),
    "progress": _progress,
}


def assert_as_written(name: str, written: tuple[int, str], version: int, result: object) -> None:
    """The version and the result of a stage are those that were written down."""
    found = version, digest(result)[:16]
    assert found == written, f"{name} gives other results: raise its version in staleness.py, and write {found} down"


@pytest.mark.parametrize("stage", GOLDEN)
def test_results_change_with_the_version_of_the_code_only(stage: str, recipe: Recipe, tables: Tables) -> None:
    assert_as_written(stage, GOLDEN[stage], staleness.STAGES[stage].code, RESULTS[stage](recipe, tables))


def test_every_stage_has_a_result_written_down() -> None:
    assert set(staleness.STAGES) == {*GOLDEN, "checkpoint", "report"}


def test_samples_change_with_the_version_of_sampling_only() -> None:
    logits = torch.tensor(np.random.default_rng(1).normal(size=(64, 50)) * 3)
    keys = stream_keys(range(64), [index % 4 for index in range(64)])
    drawn = []
    for place, (temperature, top_p) in enumerate(((0.0, 1.0), (0.7, 0.9), (1.0, 1.0), (0.7, 0.1))):
        uniform = torch.tensor(uniforms(keys, np.full(64, place)))
        drawn.append(draw(logits, uniform, SamplingParameters(temperature=temperature, top_p=top_p)).tolist())
    assert_as_written("sampling", SAMPLING, staleness.SAMPLING_CODE, (drawn, _rendered()))


def _rendered() -> object:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "seed", local_files_only=True)
    messages = [{"role": "user", "content": "Sort : 27 19 <|end|> 24"}]
    return training_example(tokenizer, messages, "19 24 27 [[A]]")
