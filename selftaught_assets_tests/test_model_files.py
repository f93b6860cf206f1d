"""The one list of the files that a model is made of."""

import json
import re
from pathlib import Path

import pytest
import transformers

from selftaught_assets.errors import UserError
from selftaught_assets.model_files import (
    MODEL_FILES,
    TOKENIZER_FILES,
    config_content,
    copy_tokenizer,
    files_of,
    read_json,
    tokenizer_content,
)

_DECLARED = re.compile(r"^[A-Z_]*FILES?(?:_NAMES?)?\s*=\s*(\{.*?\}|\"[^\"]+\")", re.DOTALL | re.MULTILINE)


def test_every_file_that_a_tokenizer_of_transformers_reads_is_on_the_list(tmp_path: Path) -> None:
    root = Path(transformers.__file__).parent
    sources = [*root.glob("models/*/tokenization_*.py"), *root.glob("tokenization_*.py"), root / "utils" / "hub.py"]
    declared = [found for source in sources for found in _DECLARED.findall(source.read_text(encoding="utf-8"))]
    names = {name for text in declared for name in re.findall(r'"([\w.]+\.(?!py)[\w.]+)"', text)}
    assert {"tokenizer.json", "added_tokens.json", "chat_template.jinja", "spiece.model", "vocab.txt"} <= names
    for name in names:
        (tmp_path / name).touch()
    assert names - files_of(tmp_path, TOKENIZER_FILES).keys() == set()


def test_the_whole_tokenizer_is_copied_and_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "additional_chat_templates").mkdir(parents=True)
    target.mkdir()
    tokenizer = {
        "added_tokens.json",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "merges.txt",
        "tokenizer.model.v3",
        "vocab.json",
    }
    for name in (*tokenizer, "config.json", "model.safetensors", "README.md", "training_args.bin"):
        (source / name).write_text(name)
    copy_tokenizer(source, target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == tokenizer
    assert (target / "additional_chat_templates" / "tool_use.jinja").read_text().endswith("tool_use.jinja")


def test_folders_and_names_that_only_resemble_those_on_the_list_are_no_files_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").mkdir()
    for name in ("training_args.bin", "optimizer.pt", "README.md", "config.yaml", "trainer_state.json"):
        (tmp_path / name).touch()
    assert files_of(tmp_path, MODEL_FILES) == {}


@pytest.mark.parametrize("text", ["[" * 100_000, f"{'[' * 900}{']' * 900}}}"], ids=["without end", "deeply"])
def test_json_that_is_nested_too_deeply_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text('{"a": ' + text)
    with pytest.raises(UserError, match=r"config.json is not valid JSON: copy the model again\.$"):
        read_json(tmp_path / "config.json", "copy the model again")


@pytest.mark.parametrize("config", [{"num_hidden_layers": 10**9}, {"text_config": {"n_layer": 1001}}])
def test_more_layers_than_any_model_has_are_refused_before_they_are_made(tmp_path: Path, config: dict) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json has n\w+ 1,0.* of which at most 1,000 can be"):
        config_content(tmp_path)


@pytest.mark.parametrize(
    ("settings", "template", "said"),
    [
        ({"chat_template": 5}, None, "a chat_template that is no text"),
        ({"chat_template": "x" * 2**21}, None, "a chat_template that nobody wrote by hand"),
        ({}, "x" * 2**21, "chat_template.jinja is larger than 1 MiB"),
    ],
)
def test_a_chat_template_that_is_none_is_refused(tmp_path: Path, settings: dict, template: str, said: str) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(UserError, match=said):
        tokenizer_content(tmp_path)
