import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selftaught_assets.engines.chat import training_example
from selftaught_assets.tinyworld.data import draw_example
from selftaught_assets.tinyworld.operations import NUMBERS, WORDS
from selftaught_assets.tinyworld.train_seed import CALIBRATED, _encode, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_each_word_number_and_verdict_is_one_token(tokenizer) -> None:
    for word in (*WORDS, *NUMBERS, "yes", "no", "end", "Correct:", "Glance:", "[[instruction]]", "[[response]]"):
        assert len(tokenizer.encode(word)) == 1, word
    assert len(tokenizer.encode("end\n[[A]]")) == len(tokenizer.encode("end\n[[B]]")) == 2


def test_first_word_of_a_text_is_the_same_token_as_further_on(tokenizer) -> None:
    assert tokenizer.encode("fig pear fig")[0] == tokenizer.encode("fig pear fig")[2]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(text=TEXTS.filter(lambda text: not text.startswith(" ")))
def test_any_text_survives_encoding_and_decoding(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_with_a_first_space_loses_it(tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(" fig")) == "fig"


def test_chat_template_hands_the_turn_to_the_assistant(tokenizer) -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>x<|end|><|user|>y<|end|><|assistant|>"


def test_seed_training_sees_the_tokens_that_the_loop_samples_and_trains_on(tokenizer) -> None:
    rng = random.Random(1)
    examples = [draw_example(rng, CALIBRATED) for _ in range(50)]
    for example, (ids, prompt_length) in zip(examples, _encode(tokenizer, examples), strict=True):
        expected = training_example(tokenizer, example.messages, example.completion)
        assert (ids[:prompt_length], ids[prompt_length:]) == (expected.prompt_ids, expected.completion_ids)
