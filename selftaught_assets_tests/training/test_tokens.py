from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from selftaught_assets.engines.chat import render
from selftaught_assets.errors import UserError
from selftaught_assets.training.trainer import NO_LOSS, tokenised_set
from selftaught_assets_tests.training.tiny import example, write_examples


def test_labels_are_the_judgment_and_the_end_of_its_turn_only(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_examples(tmp_path / "set.parquet", [example("Which?", "The first. [[A]]")])
    (row,) = tokenised_set(tokenizer, path, 64).train
    learned = [token for token in row["labels"] if token != NO_LOSS]
    assert tokenizer.decode(learned) == "The first. [[A]]<|end|>"
    assert row["input_ids"][-len(learned) :] == learned
    assert len(row["labels"]) == len(row["input_ids"])


def test_the_prompt_is_the_one_that_sampling_renders(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    instruction = "Is <|end|> a token? déjà vu"
    path = write_examples(tmp_path / "set.parquet", [example(instruction, "[[B]]")])
    (row,) = tokenised_set(tokenizer, path, 64).train
    prompt = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == NO_LOSS]
    assert tuple(prompt) == render(tokenizer, [{"role": "user", "content": instruction}]).token_ids


def test_dropped_rows_are_not_read(examples: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenised = tokenised_set(tokenizer, examples, 64)
    assert (len(tokenised.train), len(tokenised.validation), tokenised.too_long) == (40, 8, 0)


def test_examples_above_the_limit_are_left_out_of_both_splits_and_counted(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    fitting, longer = example("a", "b" * 10), example("a", "b" * 11)
    limit = 3 + 1 + 10 + 1  # user, "a", end, assistant → 4; ten letters and the end of the turn → 11
    path = write_examples(tmp_path / "set.parquet", [fitting, longer, longer | {"split": "validation"}])
    tokenised = tokenised_set(tokenizer, path, limit)
    assert (len(tokenised.train), len(tokenised.validation), tokenised.too_long) == (1, 0, 2)
    assert len(tokenised.train[0]["input_ids"]) == limit


def test_a_set_without_training_examples_is_refused_in_a_sentence(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_examples(tmp_path / "set.parquet", [example("a", "b", split="validation"), example("a" * 99, "b")])
    with pytest.raises(UserError, match="nothing to train on: of 2 examples 1 exceed 64 tokens and 1 are held out"):
        tokenised_set(tokenizer, path, 64)
