"""The shipped model, on lists that neither its training nor the pool nor the benchmark has."""

import random

import pytest

from selftaught_assets.engines.embedded.engine import load_engine
from selftaught_assets.engines.protocol import Request
from selftaught_assets.method.pairs import split_modified_pair
from selftaught_assets.method.prompts import (
    judge_messages,
    modified_instruction_messages,
    modified_pair_messages,
    response_messages,
)
from selftaught_assets.method.verdicts import Verdict, parse_verdict
from selftaught_assets.recipe import load_recipe
from selftaught_assets.recipe.engines import SamplingParameters, TransformersSettings
from selftaught_assets.storage.models import reference_model
from selftaught_assets.tinyworld.data import make_benchmark
from selftaught_assets.tinyworld.world import draw_task, read_instruction

RECIPE = load_recipe("demo")
GREEDY = SamplingParameters(temperature=0, max_tokens=64)


@pytest.fixture(scope="module")
def engine():
    loaded = load_engine(TransformersSettings(device="cpu"), reference_model(RECIPE.seed_model))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def tasks():
    rng = random.Random(7)
    drawn = [draw_task(rng, "validation") for _ in range(200)]
    return [(task, task.worded(rng)) for task in drawn]


def _completions(engine, conversations, sampling: SamplingParameters) -> list[str]:
    requests = [
        Request(str(place), engine.render(messages), sampling, seed=place, sample_indices=(0,))
        for place, messages in enumerate(conversations)
    ]
    texts = {completion.request_id: completion.text for completion in engine.generate(requests)}
    return [texts[request.request_id] for request in requests]


def test_model_is_small(engine) -> None:
    assert sum(path.stat().st_size for path in RECIPE.seed_model.iterdir()) < 6e6


def test_model_answers_instructions(engine, tasks) -> None:
    texts = _completions(engine, [response_messages(RECIPE.templates, text) for _, text in tasks], GREEDY)
    right = sum(text.split() == task.answer for text, (task, _) in zip(texts, tasks, strict=True))
    assert right >= 0.8 * len(tasks)


def test_model_modifies_instructions(engine, tasks) -> None:
    conversations = [
        modified_instruction_messages(RECIPE.templates, text, " ".join(task.answer)) for task, text in tasks
    ]
    texts = _completions(engine, conversations, RECIPE.pairs.modification)
    modified = [read_instruction(text) for text in texts]
    useful = sum(new is not None and new.answer != task.answer for new, (task, _) in zip(modified, tasks, strict=True))
    assert useful >= 0.8 * len(tasks)


def test_model_modifies_and_responds_in_one_call(engine, tasks) -> None:
    conversations = [modified_pair_messages(RECIPE.templates, text, " ".join(task.answer)) for task, text in tasks]
    pairs = [split_modified_pair(text) for text in _completions(engine, conversations, RECIPE.pairs.modification)]
    read = [(read_instruction(pair.instruction), pair.response.split()) for pair in pairs if pair]
    assert sum(task is not None and task.answer == response for task, response in read) >= 0.6 * len(tasks)


def test_model_judges_weakly_but_always_gives_a_verdict(engine) -> None:
    rows = make_benchmark(random.Random(7), "validation")
    conversations = [
        judge_messages(RECIPE.templates, row["instruction"], row["response_a"], row["response_b"]) for row in rows
    ]
    verdicts = [parse_verdict(text) for text in _completions(engine, conversations, GREEDY)]
    right = sum(verdict == row["label"] for verdict, row in zip(verdicts, rows, strict=True))
    assert 0.55 < right / len(rows) < 0.8
    assert verdicts.count(Verdict.INVALID) <= 0.02 * len(rows)
