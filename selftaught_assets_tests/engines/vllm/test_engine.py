"""What is vLLM's own: its processes, its memory, what it refuses. What all engines do alike: test_conformance.py."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from selftaught_assets.engines import factory
from selftaught_assets.engines.factory import chosen, open_engine
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import AutoSettings, TransformersSettings, VllmSettings
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.conformance import SEED, ask
from selftaught_assets_tests.engines.conftest import OpenedVllm, environment
from selftaught_assets_tests.engines.processes import VLLM, children, command, kill, needs_vllm
from selftaught_assets_tests.judge.tiny_judges import write_adapter

pytestmark = pytest.mark.xdist_group(VLLM)
SMALL = VllmSettings(name="vllm", eager=True, context=512)


@pytest.fixture
def adapter(tmp_path: Path) -> ModelReference:
    write_adapter(tmp_path / "adapter", SEED.base)
    return ModelReference(SEED.base, tmp_path / "adapter", "a" * 64)


def change_config(adapter: ModelReference, **changes: object) -> None:
    path = adapter.adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@needs_vllm
def test_a_base_is_loaded_once_for_its_adapters(opened_vllm: OpenedVllm, owl: ModelReference, tmp_path: Path) -> None:
    started = children()
    assert len(started - opened_vllm.before) >= 2
    for model in (SEED, owl):
        with opened_vllm.open_model(model) as engine:
            assert len(list(engine.generate(ask(engine, "x y z")))) == 1
    unserved = ModelReference(SEED.base, Path(shutil.copytree(owl.adapter, tmp_path / "dora")), "b" * 64)
    change_config(unserved, use_dora=True)
    with pytest.raises(UserError, match=r"cannot serve the adapter .* does not yet support DoRA"):
        opened_vllm.open_model(unserved)
    assert children() == started


@needs_vllm
def test_sampling_that_fails_says_why_and_ends_without_a_trace(opened_vllm: OpenedVllm) -> None:
    with opened_vllm.open_model(SEED) as engine:
        with pytest.raises(UserError, match=r"temperature must be in \[0, 2\]"):
            list(engine.generate(ask(engine, "x", temperature=3.0)))
        completions = engine.generate(ask(engine, "x", samples=tuple(range(300)), max_tokens=400, temperature=2.0))
        next(completions)
        for process in children() - opened_vllm.before:
            if "EngineCore" in command(process) or "Worker" in command(process):
                kill(process)
        with pytest.raises(UserError, match="vLLM died while sampling"):
            list(completions)
    opened_vllm.close()
    assert children() <= opened_vllm.before
    assert environment() == opened_vllm.environment


@needs_vllm
def test_memory_that_is_not_there_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "100000")
    before = children()
    with (
        pytest.raises(UserError, match=r"vLLM cannot load the model .*models/seed: "),
        open_engine(SMALL, SEED),
    ):
        pass
    assert children() <= before


@needs_vllm
def test_a_model_that_vllm_does_not_know_is_the_users_mistake(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SEED.base, tmp_path / "model"))
    (folder / "config.json").write_text('{"model_type": "no_such_model"}')
    with (
        pytest.raises(UserError, match="vLLM cannot load the model"),
        open_engine(SMALL, ModelReference(folder, None, "")),
    ):
        pass


@needs_vllm
def test_an_adapter_of_too_high_a_rank_is_refused_before_the_model_is_loaded(adapter: ModelReference) -> None:
    change_config(adapter, r=1000)
    with pytest.raises(UserError, match="rank 1000, and 512 is the largest"), open_engine(SMALL, adapter):
        pass


@needs_vllm
def test_weights_beside_those_of_the_model_are_refused_since_vllm_would_load_them_too(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SEED.base, tmp_path / "model"))
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    with (
        pytest.raises(UserError, match=r"would also load consolidated.safetensors of .*"),
        open_engine(SMALL, reference_model(folder)),
    ):
        pass


def test_vllm_that_is_not_installed_is_named_with_the_commands_that_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selftaught_assets.engines.vllm.base.find_spec", lambda name: None)
    with (
        pytest.raises(UserError, match=r"pip install 'selftaught-assets\[vllm\]'.*make vllm-cpu"),
        open_engine(SMALL, SEED),
    ):
        pass


@pytest.mark.parametrize(
    ("installed", "gpu", "engine"),
    [(True, True, VllmSettings), (True, False, TransformersSettings), (False, True, TransformersSettings)],
)
def test_auto_takes_vllm_where_it_is_installed_and_a_gpu_is_there(
    installed: bool, gpu: bool, engine: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert type(chosen(AutoSettings(name="auto"))) is engine
