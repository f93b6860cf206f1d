import contextlib
import io
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selftaught_assets.tinyworld.train_seed import CALIBRATED, _batches, main, make_tokenizer

SHORT = ["--steps", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that held nothing but a card before; `progress.txt` beside it has what was printed."""
    folder = tmp_path_factory.mktemp("models") / "seed"
    folder.mkdir()
    (folder / "README.md").write_text("the card")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["--out", str(folder), *SHORT])
    (folder.parent / "progress.txt").write_text(printed.getvalue())
    return folder


def test_trained_folder_loads_without_remote_code(trained: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained, local_files_only=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(trained, local_files_only=True, trust_remote_code=False)
    assert model.config.model_type == "llama"
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.chat_template


def test_weights_are_bfloat16_safetensors(trained: Path) -> None:
    assert {tensor.dtype for tensor in load_file(trained / "model.safetensors").values()} == {torch.bfloat16}


def test_same_seed_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "again"), *SHORT])
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_progress_is_printed(trained: Path) -> None:
    assert "both, slower: step 1/1, loss " in (trained.parent / "progress.txt").read_text()


def test_retraining_keeps_the_card_and_leaves_nothing_aside(trained: Path) -> None:
    assert (trained / "README.md").read_text() == "the card"
    assert sorted(path.name for path in trained.parent.iterdir()) == ["progress.txt", "seed"]


def test_loss_is_on_completions_alone() -> None:
    tokenizer = make_tokenizer()
    batch = next(_batches(tokenizer, random.Random(1), CALIBRATED))
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for ids, is_target in zip(batch.input_ids.tolist(), batch.is_target.tolist(), strict=True):
        start = ids.index(assistant) + 1
        end = ids.index(tokenizer.eos_token_id, start) + 1
        assert is_target == [start <= place < end for place in range(len(ids))]
