"""The model is loaded when something has to be sampled, and only then."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selftaught_assets.engines.factory import DeferredEngine, chosen, open_engine, open_when_needed
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.engines.protocol import Completion, Engine, Prompt, Request, identity
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import (
    EngineSettings,
    RaySettings,
    SamplingParameters,
    TransformersSettings,
    VllmSettings,
)
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.engines.conftest import make_model
from selftaught_assets_tests.engines.test_journalled import Echo

CPU = TransformersSettings(device="cpu", max_rows=8)
TASKS = [GenerationTask(name, [{"role": "user", "content": name}], n=2, seed=3) for name in ("one", "two")]
SAMPLING = SamplingParameters(max_tokens=8)


@pytest.fixture(scope="module")
def seed() -> ModelReference:
    return reference_model(ROOT / "models" / "seed")


def test_a_stage_whose_journal_has_all_loads_no_model(seed: ModelReference, tmp_path: Path) -> None:
    with open_engine(CPU, seed) as engine:
        sampled = generate(engine, Journal(tmp_path), TASKS, SAMPLING, print).frame
    loads: list[int] = []
    with closing(DeferredEngine(seed, "float32", 8, _counted(seed, loads))) as engine:
        remembered = generate(engine, Journal(tmp_path), TASKS, SAMPLING, print)
    assert remembered.sampled.completions == 0
    assert remembered.frame.equals(sampled)
    assert loads == []


def test_a_model_is_loaded_once_and_given_back_at_the_end(seed: ModelReference, tmp_path: Path) -> None:
    loads: list[int] = []
    with closing(DeferredEngine(seed, "float32", 8, _counted(seed, loads))) as engine:
        for round in range(2):
            tasks = [replace(task, seed=round) for task in TASKS]
            assert generate(engine, Journal(tmp_path), tasks, SAMPLING, print).sampled.completions == 4
        assert loads == [1]
    assert loads == [1, -1]


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_capacity_and_identity_are_those_of_the_engine_before_it_is_loaded(seed: ModelReference, dtype: str) -> None:
    settings = CPU.model_copy(update={"dtype": dtype})
    with open_engine(settings, seed) as loaded, open_when_needed(settings, seed) as deferred:
        told = [(engine.capacity, engine.identity, engine.model_digest) for engine in (loaded, deferred)]
    assert told[0] == told[1]


def test_actors_are_known_by_what_they_will_compute_in_before_they_start(seed: ModelReference) -> None:
    with open_when_needed(RaySettings(name="ray", engine=CPU, replicas=3), seed) as actors:
        assert actors.capacity == 24
        assert actors.identity == identity(seed.digest, "float32")


def test_answers_in_another_dtype_are_sampled_anew(seed: ModelReference, tmp_path: Path) -> None:
    for dtype, sampled in (("float32", 4), ("bfloat16", 4), ("auto", 0)):
        with open_when_needed(CPU.model_copy(update={"dtype": dtype}), seed) as engine:
            assert generate(engine, Journal(tmp_path), TASKS, SAMPLING, print).sampled.completions == sampled


@pytest.mark.parametrize(
    ("settings", "gpu", "dtype"),
    [
        (TransformersSettings(), False, "float32"),
        (TransformersSettings(), True, "bfloat16"),
        (TransformersSettings(device="cpu"), True, "float32"),
        (TransformersSettings(dtype="float32"), True, "float32"),
        (VllmSettings(name="vllm"), True, "bfloat16"),
        (VllmSettings(name="vllm"), False, "float32"),
        (RaySettings(name="ray", engine=TransformersSettings()), True, "float32"),
        (RaySettings(name="ray", engine=TransformersSettings(), gpus=1), False, "bfloat16"),
        (RaySettings(name="ray", engine=VllmSettings(name="vllm", dtype="float16"), gpus=1), False, "float16"),
    ],
)
def test_the_dtype_is_known_before_anything_is_loaded(
    settings: EngineSettings, gpu: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = chosen(settings)
    assert (found.engine if isinstance(found, RaySettings) else found).dtype == dtype


def test_weights_that_were_replaced_after_the_model_was_referenced_answer_under_no_name(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    model = reference_model(folder)
    make_model("llama", seed=1).save_pretrained(folder)
    with (
        open_when_needed(CPU, model) as engine,
        pytest.raises(UserError, match=r"files were replaced \(.*base/model.safetensors.*\): run it again"),
    ):
        generate(engine, Journal(tmp_path / "journal"), TASKS, SAMPLING, print)


def test_a_model_that_cannot_be_loaded_is_told_when_it_is_needed(seed: ModelReference, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((seed.base / name).read_bytes())
    broken = ModelReference(tmp_path, None, "digest")
    with open_when_needed(CPU, broken) as engine, pytest.raises(UserError, match="has no weights"):
        generate(engine, Journal(tmp_path / "journal"), TASKS, SAMPLING, print)


def test_prompts_that_are_all_too_long_load_no_model(seed: ModelReference) -> None:
    loads: list[int] = []
    with closing(DeferredEngine(seed, "float32", 8, _counted(seed, loads), context=3)) as engine:
        found = generate(engine, MemoryJournal(), TASKS, SAMPLING, print).frame
    assert found["finish_reason"].to_list() == ["prompt_too_long"] * 4
    assert found["prompt_tokens"].min() >= 3
    assert loads == []


def test_a_prompt_that_was_too_long_is_asked_again_once_the_context_is_larger(
    seed: ModelReference, tmp_path: Path
) -> None:
    with closing(DeferredEngine(seed, "float32", 8, _counted(seed, []), context=3)) as short:
        generate(short, Journal(tmp_path), TASKS, SAMPLING, print)
    with open_when_needed(CPU, seed) as engine:
        found = generate(engine, Journal(tmp_path), TASKS, SAMPLING, print)
    assert found.sampled.completions == 4
    assert set(found.frame["finish_reason"]) <= {"stop", "length"}


def _counted(model: ModelReference, loads: list[int]):
    @contextmanager
    def load() -> Iterator[Engine]:
        loads.append(1)
        with open_engine(CPU, model) as engine:
            yield engine
        loads.append(-1)

    return load


def test_requests_before_the_first_that_fits_are_the_only_ones_that_are_looked_at(seed: ModelReference) -> None:
    loads: list[int] = []
    taken: list[str] = []

    def each() -> Iterator[Request]:
        for name, length in (("long", 9), ("longer", 12), ("short", 3), ("long again", 9), ("last", 2)):
            taken.append(name)
            yield Request(name, Prompt("", tuple(range(length))), SAMPLING, 1, (0,))

    class Checking(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            assert taken == ["long", "longer", "short"]
            return super().generate(requests)

    @contextmanager
    def load() -> Iterator[Engine]:
        loads.append(1)
        yield Checking()

    with closing(DeferredEngine(seed, "float32", 8, load, context=9)) as engine:
        found = {completion.request_id: completion.finish_reason for completion in engine.generate(each())}
    assert found == dict.fromkeys(("long", "longer"), "prompt_too_long") | dict.fromkeys(
        ("short", "long again", "last"), "stop"
    )
    assert taken[-1] == "last"
    assert loads == [1]
