"""A model and examples small enough to train in a second: constants and builders, no tests."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from selftaught_assets.recipe.stages import Training

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
SETTINGS = Training(
    epochs=2, batch_size=8, learning_rate=1e-2, warmup_steps=2, lora_rank=4, lora_alpha=8, max_tokens=64
)
WORDS = ("plum", "iron", "lake", "fern", "owl", "clay")


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """A random Llama of 20,000 parameters with a byte-level tokenizer, as save_pretrained writes it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
    wrapped.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=wrapped.pad_token_id,
        eos_token_id=wrapped.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


def as_slow_tokenizer(folder: Path) -> Path:
    """Puts the tokenizer of a tiny model into the many files of the time before tokenizer.json."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    named = {"eos_token": "<|end|>", "pad_token": "<|pad|>", "bos_token": "<|pad|>", "unk_token": "<|pad|>"}
    config = {"tokenizer_class": "GPT2Tokenizer", **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def example(instruction: str, completion: str, split: str = "train", drop_reason: str | None = None) -> dict[str, Any]:
    """One row of a filtered set."""
    messages = [{"role": "user", "content": instruction}]
    return {"messages": messages, "completion": completion, "split": split, "drop_reason": drop_reason}


def write_examples(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A filtered set with the columns that training reads."""
    message = pl.Struct({"role": pl.String, "content": pl.String})
    schema = {"messages": pl.List(message), "completion": pl.String, "split": pl.String, "drop_reason": pl.String}
    pl.DataFrame(rows, schema=schema).write_parquet(path)
    return path


def judging_examples(count: int = 48) -> list[dict[str, Any]]:
    """Judgments of unlike lengths, every sixth held out, and a dropped one that must not be read."""
    rows = []
    for index in range(count):
        word, label = WORDS[index % len(WORDS)], "AB"[index % 2]
        judgment = f"{word} {'so ' * (index % 3)}[[{label}]]"
        rows.append(example(f"{word} or {index}?", judgment, "validation" if index % 6 == 5 else "train"))
    return [*rows, example("dropped?", "never [[A]]", drop_reason="wrong_verdict")]
