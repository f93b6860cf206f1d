"""An exported judge in other hands: plain `transformers`, PEFT and vLLM give the verdicts that the platform gives."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import polars as pl
import pytest

from selftaught_assets.engines import chat
from selftaught_assets.errors import UserError
from selftaught_assets.judge import Judge
from selftaught_assets.judge.answers import PairQuestion
from selftaught_assets.judge.export import export_judge
from selftaught_assets.method.verdicts import parse_verdict
from selftaught_assets.model_files import TOKENIZER_FILES, files_of
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.engines.processes import needs_vllm
from selftaught_assets_tests.judge.conftest import Workplace
from selftaught_assets_tests.training.tiny import as_slow_tokenizer, write_tiny_model

IN_VLLM = """
import json, sys
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory
from vllm.lora.request import LoRARequest

greedy = SamplingParams(temperature=0, max_tokens=96)
answers = []
for request in json.load(sys.stdin):
    lora = request["adapter"] and LoRARequest("judge", 1, request["adapter"])
    llm = LLM(
        request["model"],
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        enable_lora=bool(lora),
        max_lora_rank=8,
        use_tqdm_on_load=False,
    )
    outputs = llm.chat(request["prompts"], greedy, lora_request=lora, use_tqdm=False)
    answers.append([output.outputs[0].text for output in outputs])
    del llm
    cleanup_dist_env_and_memory()
print(json.dumps(answers))
"""
"""What a stranger runs; one folder after the other, since vLLM is imported for ten seconds."""


@pytest.fixture(scope="module")
def adapter(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "adapter"
    export_judge("iteration_03", folder, workplace.recipe, workplace.layout, merge=False)
    return folder


@pytest.fixture(scope="module")
def merged(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "merged"
    export_judge("iteration_03", folder, workplace.recipe, workplace.layout, merge=True)
    return folder


@pytest.fixture(scope="module")
def expected(trained_judge: Judge, seed_judge: Judge, pairs: pl.DataFrame) -> list[str]:
    """The platform's greedy judgments, which are not those of the seed model."""
    judged = [_greedy(judge, pairs) for judge in (trained_judge, seed_judge)]
    assert judged[0] != judged[1]
    assert {"A", "B"} <= {parse_verdict(text) for text in judged[0]}
    return judged[0]


def _greedy(judge: Judge, pairs: pl.DataFrame) -> list[str]:
    questions = [PairQuestion(*texts, votes=1) for texts in pairs[["instruction", "response_a", "response_b"]].rows()]
    return [answer.judgments[0].text for answer in judge.answer(questions)]


def _prompts(folder: Path, pairs: pl.DataFrame) -> list[list[dict[str, str]]]:
    """What a stranger makes of the folder's own prompt."""
    template = jinja2.Template((folder / "prompts" / "judge.jinja").read_text(encoding="utf-8"))
    return [[{"role": "user", "content": template.render(row)}] for row in pairs.iter_rows(named=True)]


def _generated(model: object, folder: Path, pairs: pl.DataFrame) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for messages in _prompts(folder, pairs):
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=96)
        texts.append(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def _agree(texts: list[str], expected: list[str]) -> None:
    assert [parse_verdict(text) for text in texts] == [parse_verdict(text) for text in expected]


def test_merged_weights_give_the_same_verdicts_in_transformers(merged, pairs, expected) -> None:
    from transformers import AutoModelForCausalLM

    _agree(_generated(AutoModelForCausalLM.from_pretrained(merged), merged, pairs), expected)


def test_the_adapter_gives_the_same_verdicts_in_peft(adapter, pairs, expected) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM

    _agree(_generated(AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32), adapter, pairs), expected)


@pytest.fixture(scope="module")
def said_in_vllm(workplace: Workplace, merged: Path, adapter: Path, pairs: pl.DataFrame) -> dict[str, list[str]]:
    """By kind of folder, what vLLM answers to its own prompts."""
    base = str(workplace.recipe.seed_model)
    requests = {
        "merged": {"model": str(merged), "adapter": None, "prompts": _prompts(merged, pairs)},
        "adapter": {"model": base, "adapter": str(adapter), "prompts": _prompts(adapter, pairs)},
    }
    # In a process of its own, vLLM needs no further ones: a third of the time.
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    asked = json.dumps(list(requests.values()))
    command = [sys.executable, "-c", IN_VLLM]
    done = subprocess.run(command, input=asked, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(requests, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@needs_vllm
@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_the_folder_gives_the_same_verdicts_in_vllm(
    kind: str, said_in_vllm: dict[str, list[str]], expected: list[str]
) -> None:
    _agree(said_in_vllm[kind], expected)


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_an_exported_judge_is_loaded_again_and_asked_as_it_was(
    kind: str, workplace: Workplace, pairs: pl.DataFrame, expected: list[str], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    with Judge.load(folder, "demo") as judge:  # Its own prompts and sampling, not the demo's.
        assert judge.name == kind
        assert judge.settings.evaluation == workplace.recipe.evaluation
        assert judge.settings.prompts == folder / "prompts"
        assert judge.settings.template_date == workplace.recipe.template_date
        assert _greedy(judge, pairs) == expected


def test_the_folder_is_a_plain_one_without_pickles_or_leftovers(merged: Path, adapter: Path) -> None:
    common = {"README.md", "judge.json", "prompts", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {path.name for path in merged.iterdir()} == {
        *common,
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    assert {path.name for path in adapter.iterdir()} == {
        *common,
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    for folder in (merged, adapter):
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())


@pytest.fixture(scope="module")
def slow_recipe(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """On a seed model with a tokenizer of many files."""
    folder = as_slow_tokenizer(write_tiny_model(tmp_path_factory.mktemp("slow") / "model"))
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}", encoding="utf-8")
    return workplace.recipe.model_copy(update={"seed_model": folder})


def test_a_tokenizer_of_many_files_is_exported_whole(slow_recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_judge("seed", out, slow_recipe, Layout(tmp_path, "small"), merge=True)
    messages = [{"role": "user", "content": "plum <|end|> owl"}]
    before, after = (chat.load_tokenizer(folder) for folder in (slow_recipe.seed_model, out))
    prompt = chat.render(before, messages)
    assert prompt.token_ids.count(before.convert_tokens_to_ids("<|user|>")) == 1
    assert chat.render(after, messages) == prompt
    assert chat.end_tokens(after, chat.configured_end(out)) == chat.end_tokens(
        before, chat.configured_end(slow_recipe.seed_model)
    )
    assert files_of(out, TOKENIZER_FILES).keys() == files_of(slow_recipe.seed_model, TOKENIZER_FILES).keys()


def test_sampling_defaults_that_contradict_one_another_do_not_keep_a_judge_from_export(
    slow_recipe: Recipe, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(slow_recipe.seed_model, tmp_path / "model"))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2], "temperature": 0.6}))
    recipe = slow_recipe.model_copy(update={"seed_model": model})
    export_judge("seed", tmp_path / "out", recipe, Layout(tmp_path, "small"), merge=True)
    assert chat.configured_end(tmp_path / "out") == [1, 2]


def test_a_target_that_is_not_empty_is_refused_and_left_alone(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="already exists and is not empty: name a new folder"):
        export_judge("seed", tmp_path, workplace.recipe, workplace.layout, merge=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_export_that_fails_leaves_nothing(workplace: Workplace, tmp_path: Path, monkeypatch) -> None:
    def fail(*arguments: object, **options: object) -> str:
        raise RuntimeError("no card")

    monkeypatch.setattr("selftaught_assets.judge.export.card", fail)
    with pytest.raises(RuntimeError):
        export_judge("seed", tmp_path / "out", workplace.recipe, workplace.layout, merge=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_there(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_judge("iteration_03", tmp_path / "out", workplace.recipe, workplace.layout, merge=False)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_weights_changed_after_the_export_are_refused(workplace: Workplace, adapter: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(adapter, tmp_path / "changed")
    config = json.loads((changed / "adapter_config.json").read_text())
    (changed / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))
    with pytest.raises(UserError, match="are not those that were exported"):
        Judge.load(changed, str(workplace.recipe_path))
