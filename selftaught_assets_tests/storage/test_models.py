import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selftaught_assets.errors import UserError
from selftaught_assets.storage.models import (
    ModelReference,
    adapted,
    adapter_digest,
    read_pointer,
    reference_model,
    write_pointer,
)

WEIGHTS = {"embed": np.arange(6, dtype=np.float32).reshape(2, 3), "norm": np.ones(3, dtype=np.float32)}
CONFIG = {"model_type": "llama", "hidden_size": 3, "rms_norm_eps": 1e-6, "transformers_version": "5.19.0"}
TOKENIZER_CONFIG = {"eos_token": "<|pad|>", "name_or_path": "/here"}
ADAPTER_CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "base_model_name_or_path": "/here",
    "inference_mode": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as far as the files go."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(WEIGHTS, folder / "model.safetensors")
    _write_json(folder / "config.json", CONFIG)
    _write_json(folder / "generation_config.json", {"eos_token_id": 2, "temperature": 0.6})
    _write_json(folder / "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    _write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"lora_A": np.ones((4, 3), dtype=np.float32)}, folder / "adapter_model.safetensors")
    _write_json(folder / "adapter_config.json", ADAPTER_CONFIG)
    return folder


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{i}-of-00002.safetensors" for i, name in enumerate(WEIGHTS, start=1)}
    for name, file in names.items():
        save_file({name: WEIGHTS[name]}, folder / file)
    _write_json(folder / "model.safetensors.index.json", {"weight_map": names})


def _template_into_tokenizer_config(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    _write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}"})


def _change_weight(folder: Path) -> None:
    save_file(WEIGHTS | {"norm": np.array([1, 1, 1.0001], dtype=np.float32)}, folder / "model.safetensors")


def _add_named_template(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}", encoding="utf-8")


def test_the_digest_depends_on_neither_path_nor_file_times(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.iterdir():
        os.utime(path, (0, 0))
    model = reference_model(folder)
    assert reference_model(copy) == ModelReference(copy, None, model.digest)
    assert len(model.digest) == 64


@pytest.mark.parametrize(
    "change",
    [
        _change_weight,
        lambda f: _write_json(f / "config.json", CONFIG | {"rms_norm_eps": 1e-5}),
        lambda f: _write_json(f / "tokenizer.json", {"model": {"vocab": {"b": 0}}}),
        lambda f: _write_json(f / "generation_config.json", {"eos_token_id": [2, 3]}),
        lambda f: (f / "chat_template.jinja").write_text("{{ messages[0] }}", encoding="utf-8"),
        lambda f: _write_json(f / "tokenizer_config.json", {"eos_token": "<|end|>"}),
        lambda f: _write_json(f / "special_tokens_map.json", {"eos_token": "<|end|>"}),
        lambda f: _write_json(f / "added_tokens.json", {"<|user|>": 7}),
        lambda f: _write_json(f / "vocab.json", {"a": 0}),
        lambda f: (f / "spiece.model").write_bytes(b"pieces"),
        _add_named_template,
    ],
    ids=[
        "weight",
        "config",
        "vocabulary",
        "end_of_sequence",
        "chat_template",
        "tokenizer_config",
        "special_tokens",
        "added_tokens",
        "slow_vocabulary",
        "sentencepiece",
        "named_template",
    ],
)
def test_the_digest_changes_with_what_changes_the_text(folder: Path, change: Callable[[Path], None]) -> None:
    before = reference_model(folder).digest
    change(folder)
    assert reference_model(folder).digest != before


@pytest.mark.parametrize(
    "change",
    [
        lambda f: _write_json(f / "config.json", CONFIG | {"transformers_version": "6.0", "use_cache": False}),
        lambda f: _write_json(f / "generation_config.json", {"eos_token_id": 2, "temperature": 1.0}),
        lambda f: _write_json(
            f / "tokenizer_config.json", TOKENIZER_CONFIG | {"name_or_path": "/there", "is_local": 1}
        ),
        lambda f: (f / "README.md").write_text("a card", encoding="utf-8"),
        lambda f: save_file(WEIGHTS, f / "model-00001-of-00002.safetensors"),
        lambda f: (f / "pytorch_model.bin").write_bytes(b"the same weights as pickle"),
    ],
    ids=["version", "sampling_defaults", "provenance", "card", "stray_shard", "pickle_beside_safetensors"],
)
def test_the_digest_stays_with_what_changes_nothing(folder: Path, change: Callable[[Path], None]) -> None:
    before = reference_model(folder).digest
    change(folder)
    assert reference_model(folder).digest == before


def _slow_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    (folder / "merges.txt").write_text("a b", encoding="utf-8")


def _links_as_in_the_cache_of_the_hub(folder: Path) -> None:
    blobs = folder.with_name("blobs")
    blobs.mkdir()
    for number, path in enumerate(list(folder.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("..") / "blobs" / str(number))


def test_links_do_not_change_the_digest(folder: Path) -> None:
    before = reference_model(folder).digest
    _links_as_in_the_cache_of_the_hub(folder)
    assert reference_model(folder).digest == before


@pytest.mark.parametrize("change", [_shard, _template_into_tokenizer_config, _slow_tokenizer])
def test_other_layouts_of_a_model_folder_are_taken(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder)
    assert len(reference_model(folder).digest) == 64


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _lose_a_shard(folder: Path) -> None:
    _shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def _halve_a_shard(folder: Path) -> None:
    _shard(folder)
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _mix_shards_up(folder: Path) -> None:
    _shard(folder)
    shutil.copyfile(folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors")


def _index_beside_whole_weights(folder: Path) -> None:
    _shard(folder)
    save_file(WEIGHTS, folder / "model.safetensors")


def _index_names_another_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    _write_json(folder / "model.safetensors.index.json", {"weight_map": {"embed": "../other/model.safetensors"}})


def _half_an_index(folder: Path) -> None:
    _shard(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text()[:40], encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shutil.rmtree, "There is no model folder"),
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: (f / "config.json").write_text("{", encoding="utf-8"), "config.json is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]", encoding="utf-8"), "config.json is not a JSON object"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (_only_pickle, "only as pickle .pytorch_model.bin., which can run code"),
        (_truncate, "is not a complete safetensors file"),
        (_lose_a_shard, "model-00002-of-00002.safetensors do not exist"),
        (_halve_a_shard, "model-00002-of-00002.safetensors is not a complete safetensors file"),
        (_mix_shards_up, "model-00002-of-00002.safetensors lacks weights that .* such as norm"),
        (_half_an_index, "model.safetensors.index.json is not valid JSON"),
        (_index_beside_whole_weights, "has both model.safetensors and an index of other files"),
        (_index_names_another_folder, "names '../other/model.safetensors', which is no safetensors file beside it"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "chat_template.jinja").unlink(), "has no chat template"),
    ],
    ids=[
        "missing",
        "no_config",
        "broken_config",
        "odd_config",
        "no_weights",
        "pickle",
        "truncated",
        "lost_shard",
        "half_a_shard",
        "shard_of_another",
        "half_an_index",
        "two_sets_of_weights",
        "weights_elsewhere",
        "no_tokenizer",
        "no_template",
    ],
)
def test_an_unusable_model_folder_is_refused_in_a_sentence(
    folder: Path, change: Callable[[Path], None], sentence: str
) -> None:
    change(folder)
    with pytest.raises(UserError, match=sentence) as caught:
        reference_model(folder)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_an_adapters_digest_changes_with_base_weights_and_scale_but_not_with_the_bases_path(adapter: Path) -> None:
    config = adapter / "adapter_config.json"
    before = adapter_digest(adapter, "base")
    _write_json(config, ADAPTER_CONFIG | {"base_model_name_or_path": "/elsewhere", "inference_mode": False})
    assert adapter_digest(adapter, "base") == before
    assert adapter_digest(adapter, "another base") != before
    _write_json(config, ADAPTER_CONFIG | {"target_modules": ["q", "v"], "use_dora": False, "modules_to_save": None})
    targeted = adapter_digest(adapter, "base")
    assert targeted != before
    _write_json(config, ADAPTER_CONFIG | {"target_modules": ["v", "q"], "peft_version": "9"})
    assert adapter_digest(adapter, "base") == targeted
    _write_json(config, ADAPTER_CONFIG | {"lora_alpha": 16})
    assert adapter_digest(adapter, "base") != before
    _write_json(config, ADAPTER_CONFIG)
    save_file({"lora_A": np.zeros((4, 3), dtype=np.float32)}, adapter / "adapter_model.safetensors")
    assert adapter_digest(adapter, "base") != before


def test_a_pointer_gives_the_model_back(folder: Path, adapter: Path, tmp_path: Path) -> None:
    base = reference_model(folder)
    for model in (base, adapted(base, adapter)):
        write_pointer(tmp_path / "judge" / "iteration_01.json", model, root=tmp_path / "data")
        assert read_pointer(tmp_path / "judge" / "iteration_01.json", root=tmp_path / "data") == model


def test_a_pointer_survives_the_move_of_the_data_folder(folder: Path, adapter: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    model = adapted(reference_model(folder), shutil.copytree(adapter, data / "checkpoint"))
    write_pointer(data / "judge.json", model, root=data)
    for number, move in enumerate((shutil.move, shutil.copytree)):  # A copy has other inodes and times.
        moved = Path(move(data, tmp_path / f"moved_{number}"))
        found = read_pointer(moved / "judge.json", root=moved)
        assert found == ModelReference(folder, moved / "checkpoint", model.digest)
        data = moved


def _replace_in_place(folder: Path, adapter: Path) -> None:
    """Other weights of the same size, with the time stamps of the old ones."""
    path = folder / "model.safetensors"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    _change_weight(folder)
    os.utime(path, ns=times)


def _replace_adapter(folder: Path, adapter: Path) -> None:
    save_file({"lora_A": np.zeros((4, 3), dtype=np.float32)}, adapter / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_replace_in_place, "base/model.safetensors"),
        (_replace_adapter, "adapter/adapter_model.safetensors"),
        (lambda f, a: _write_json(f / "added_tokens.json", {"<|user|>": 7}), "base/added_tokens.json"),
        (lambda f, a: (f / "tokenizer_config.json").unlink(), "base/tokenizer_config.json"),
    ],
    ids=["base", "adapter", "new_file", "removed_file"],
)
def test_a_pointer_whose_model_was_replaced_is_refused_with_the_files(
    folder: Path, adapter: Path, tmp_path: Path, change: Callable[[Path, Path], None], named: str
) -> None:
    path = tmp_path / "judge.json"
    write_pointer(path, adapted(reference_model(folder), adapter), root=tmp_path)
    change(folder, adapter)
    with pytest.raises(UserError, match=rf"files were replaced \({named}\): materialize `judge` of this iteration"):
        read_pointer(path, root=tmp_path)


def test_weights_that_were_replaced_while_the_pointer_waited_to_be_written_are_noticed(
    folder: Path, tmp_path: Path
) -> None:
    model = reference_model(folder)
    _change_weight(folder)
    write_pointer(tmp_path / "judge.json", model, root=tmp_path)
    with pytest.raises(UserError, match="has changed \\("):
        read_pointer(tmp_path / "judge.json", root=tmp_path)


def test_a_pointer_without_stamps_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judge.json"
    write_pointer(path, reference_model(folder), root=tmp_path)
    content = json.loads(path.read_text())
    del content["stamps"]
    _write_json(path, content | {"digest": "d" * 64})
    with pytest.raises(UserError, match="has changed \\("):
        read_pointer(path, root=tmp_path)


def test_files_that_nobody_touched_are_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "judge.json"
    model = reference_model(folder)
    write_pointer(path, model, root=tmp_path)
    monkeypatch.setattr("selftaught_assets.storage.models.file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert read_pointer(path, root=tmp_path) == model


def test_a_pointer_to_nowhere_is_refused_in_a_sentence(folder: Path, adapter: Path, tmp_path: Path) -> None:
    path = tmp_path / "judge.json"
    with pytest.raises(UserError, match="does not exist: materialize `judge`"):
        read_pointer(path, root=tmp_path)
    write_pointer(path, adapted(reference_model(folder), adapter), root=tmp_path)
    shutil.rmtree(adapter)
    with pytest.raises(UserError, match="which is gone: materialize `judge`"):
        read_pointer(path, root=tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="does not name a model"):
        read_pointer(path, root=tmp_path)
