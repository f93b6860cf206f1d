"""The embedded engine, held to the model's own forward pass and to its promises."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from selftaught_assets.engines.embedded.decoders import PlainDecoder, SharedPrefixDecoder
from selftaught_assets.engines.embedded.engine import TransformersEngine, suitable_decoder
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.protocol import Request
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import TransformersSettings
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.conftest import (
    CONFIGS,
    SHARED_PREFIX,
    by_sample,
    make_model,
    request,
    request_of_ids,
)

Make = Callable[..., TransformersEngine]
CPU = TransformersSettings(device="cpu", max_rows=32)


def many_requests(count: int, n: int, max_tokens: int = 24) -> list[Request]:
    """Prompts of 1 to 60 tokens; some twice, with other seeds."""
    draws = random.Random(3)
    prompts = [tuple(draws.choices(range(256), k=draws.randint(1, 60))) for _ in range(count - count // 5)]
    prompts += prompts[: count // 5]
    return [request_of_ids(p, name=str(i), n=n, seed=i, max_tokens=max_tokens) for i, p in enumerate(prompts)]


def forward(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Logits of the last token by the model's plain forward pass, without any cache: shape (vocabulary,)."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


def greedy(model: PreTrainedModel, prompt: list[int], end: int, max_tokens: int) -> list[int]:
    """Greedy decoding by plain forward passes, with the end token."""
    sampled: list[int] = []
    while len(sampled) < max_tokens and end not in sampled:
        sampled.append(int(forward(model, prompt + sampled).argmax()))
    return sampled


@pytest.mark.parametrize("name", CONFIGS)
def test_each_architecture_gets_the_decoder_that_suits_it(name: str) -> None:
    expected = SharedPrefixDecoder if name in SHARED_PREFIX else PlainDecoder
    assert type(suitable_decoder(make_model(name))) is expected


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_plain_forward_pass(name: str) -> None:
    decoder, plain = suitable_decoder(make_model(name)), make_model(name)
    draws = np.random.default_rng(0)
    lengths = (33, 5, 20) if decoder.mixes_lengths else (20, 20, 20)
    prompts = [tuple(draws.integers(0, 256, length).tolist()) for length in lengths]
    owners = np.array([0, 0, 1, 2, 2, 2])
    texts = [list(prompts[owner]) for owner in owners]
    with torch.inference_mode():
        state, logits = decoder.start(prompts, owners)
        for step in range(40):  # Grows the suffix beyond its first capacity.
            if step == 5:  # Rows 1, 3 and 4 end: row 5 moves to place 1.
                state.shrink(np.array([1]), np.array([5]), 3)
                texts, logits = [texts[0], texts[5], texts[2]], logits[[0, 5, 2]]
            expected = torch.stack([forward(plain, text) for text in texts])
            assert torch.allclose(logits, expected, atol=1e-4 * expected.abs().max().item())
            tokens = draws.integers(0, 256, len(texts))
            for text, token in zip(texts, tokens, strict=True):
                text.append(int(token))
            logits = decoder.step([state], torch.from_numpy(tokens))


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_completions_are_those_of_the_plain_forward_pass(
    name: str, make_engine: Make, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine, plain = make_engine(name, max_rows=4), make_model(name)
    requests = [
        replace(r, sampling=r.sampling.model_copy(update={"temperature": 0.0}))
        for r in many_requests(6, 1, max_tokens=16)
    ]
    completions = by_sample(engine.generate(requests))
    for r in requests:
        expected = greedy(plain, list(r.prompt.token_ids), tokenizer.eos_token_id, r.sampling.max_tokens)
        assert completions[r.request_id, 0].completion_tokens == len(expected)
        assert completions[r.request_id, 0].text == tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("name", SHARED_PREFIX)
def test_the_fast_decoder_samples_what_the_plain_one_samples(
    name: str, make_engine: Make, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model(name)
    plain = TransformersEngine(model, tokenizer, "", 64, PlainDecoder(model))
    requests = many_requests(15, 3, max_tokens=16)
    assert by_sample(make_engine(name).generate(requests)) == by_sample(plain.generate(requests))


@pytest.mark.parametrize("name", SHARED_PREFIX)
def test_completions_do_not_depend_on_their_neighbours(name: str, make_engine: Make) -> None:
    requests = many_requests(40, 5, max_tokens=12)
    together = by_sample(make_engine(name, max_rows=512).generate(requests))
    draws = random.Random(11)
    for max_rows in (7, 32):
        engine = make_engine(name, max_rows=max_rows)
        part = [
            replace(r, sample_indices=tuple(draws.sample(range(5), draws.randint(1, 5))))
            for r in draws.sample(requests, 12)
        ]
        alone = by_sample(engine.generate(part))
        assert alone == {key: together[key] for key in alone}
        assert len(alone) == sum(len(r.sample_indices) for r in part)


def test_a_prompt_is_computed_once_for_samples_that_start_together(engine: TransformersEngine) -> None:
    completions = list(engine.generate([request("abc", name="a", n=4), request("some more", name="b", n=2)]))
    for name, length, samples in (("a", 3, 4), ("b", 9, 2)):
        shared = sorted(c.shared_prompt_tokens for c in completions if c.request_id == name)
        assert shared == [0] + [length] * (samples - 1)


def test_only_the_prompts_that_are_sorted_together_are_held(make_engine: Make) -> None:
    engine = make_engine(max_rows=4)
    taken = ended = most = 0

    def each() -> Iterator[Request]:
        nonlocal taken, most
        for one in many_requests(80, n=2, max_tokens=3):
            taken += 1
            most = max(most, 2 * taken - ended)
            yield one

    found = []
    for completion in engine.generate(each()):
        ended += 1
        found.append(completion)
    assert most <= 4 * 4 + 4 + 2
    assert by_sample(found) == by_sample(make_engine().generate(many_requests(80, n=2, max_tokens=3)))


def test_a_model_folder_is_loaded_and_closed(model_folder: Path) -> None:
    with open_engine(CPU, reference_model(model_folder)) as engine:
        completions = by_sample(engine.generate([request("abc", n=3)]))
        assert engine.model_digest == reference_model(model_folder).digest
    assert len(completions) == 3
    with pytest.raises(AttributeError):
        list(engine.generate([request("abc")]))


def test_an_adapter_is_merged_for_sampling(
    model_folder: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    adapted = get_peft_model(make_model("llama"), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    base = reference_model(model_folder).base
    requests = [request(text, name=text, max_tokens=12, temperature=0) for text in ("abc", "some more", "x")]
    with open_engine(CPU, ModelReference(base, tmp_path, "with")) as engine:
        completions = by_sample(engine.generate(requests))
    with open_engine(CPU, ModelReference(base, None, "without")) as engine:
        assert by_sample(engine.generate(requests)) != completions
    for r in requests:
        expected = greedy(adapted.eval(), list(r.prompt.token_ids), tokenizer.eos_token_id, 12)
        assert completions[r.request_id, 0].text == tokenizer.decode(expected, skip_special_tokens=True)


def test_a_gpu_that_is_not_there_is_the_users_mistake(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(UserError, match="no GPU"),
        open_engine(TransformersSettings(device="cuda"), reference_model(model_folder)),
    ):
        pass


def test_a_folder_that_transformers_cannot_load_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(UserError, match="cannot be loaded"), open_engine(CPU, ModelReference(tmp_path, None, "")):
        pass
