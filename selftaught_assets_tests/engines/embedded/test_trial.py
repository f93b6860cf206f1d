"""The decoder that runs is one whose distributions were found to be the model's own."""

import copy
import logging

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from selftaught_assets.engines.embedded.decoders import PlainDecoder, SharedPrefixDecoder, cache_name
from selftaught_assets.engines.embedded.decoding import Decoder
from selftaught_assets.engines.embedded.engine import in_float32, suitable_decoder
from selftaught_assets.engines.embedded.forward import LlamaForward
from selftaught_assets.errors import UserError
from selftaught_assets_tests.engines.conftest import LLAMA_KIN, LLAMA_SIZES, SHARED_PREFIX, VOCABULARY, make_model

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}


def make(kind: str, **settings: object) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES | settings)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.15)
    return model


def forward(model: PreTrainedModel, prompt: tuple[int, ...]) -> torch.Tensor:
    """Logits of the next token by the attention that the model's file writes out: shape (vocabulary,)."""
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        return model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]


def decoded(decoder: Decoder, prompt: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return decoder.start([prompt], np.array([0]))[1][0]


def draw_prompt(length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(1).integers(0, VOCABULARY, length).tolist())


def is_fused(decoder: Decoder) -> bool:
    return isinstance(decoder, SharedPrefixDecoder) and isinstance(decoder._forward, LlamaForward)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SHARED_PREFIX)
def test_the_fast_decoder_passes_in_every_dtype(
    name: str, dtype: torch.dtype, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = suitable_decoder(make_model(name).to(dtype), tokenizer)
    assert type(decoder) is SharedPrefixDecoder
    assert is_fused(decoder) == (name in LLAMA_KIN)
    assert not caplog.records


def test_a_model_whose_rounding_grows_is_compared_with_its_own_rounding(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA_SIZES | {"num_hidden_layers": 8})).eval()
    for parameter in model.parameters():
        parameter.data *= 2.5
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.data *= 8
        layer.self_attn.k_proj.weight.data *= 8
    assert is_fused(suitable_decoder(model.to(torch.bfloat16), tokenizer))


def test_a_fused_pass_that_leaves_something_out_is_refused_in_the_log(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model("llama")
    model.add_adapter(LoraConfig(r=4, target_modules=["v_proj"], init_lora_weights=False))
    expected = forward(model, draw_prompt(20))
    decoder = suitable_decoder(model, tokenizer)
    assert isinstance(decoder, SharedPrefixDecoder) and not is_fused(decoder)
    assert torch.allclose(decoded(decoder, draw_prompt(20)), expected, atol=1e-4 * expected.abs().max().item())
    assert "The fused one is refused: it strays by" in caplog.text


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama4_text", EXPERTS | {"attention_chunk_size": 100, "head_dim": 16, "intermediate_size_mlp": 96}),
        ("phimoe", EXPERTS | {"sliding_window": 100}),
        ("mistral", {"sliding_window": 100}),
        ("gemma2", {"sliding_window": 100, "head_dim": 16}),
        ("gpt_oss", EXPERTS | {"sliding_window": 100, "head_dim": 16}),
    ],
)
def test_windows_and_chunks_are_kept_beyond_their_length(
    kind: str, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    model = make(kind, **settings)
    expected = forward(model, draw_prompt(150))
    with caplog.at_level(logging.WARNING):
        decoder = suitable_decoder(model)
    assert type(decoder) is PlainDecoder
    assert torch.allclose(decoded(decoder, draw_prompt(150)), expected, atol=1e-4 * expected.abs().max().item())
    assert "The fast decoder is refused: it does not run: attention to the nearest 100 tokens alone." in caplog.text


def test_a_window_is_tried_beyond_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    start = PlainDecoder.start

    def noted(self: PlainDecoder, prompts: list[tuple[int, ...]], owners: np.ndarray) -> object:
        lengths.extend(map(len, prompts))
        return start(self, prompts, owners)

    monkeypatch.setattr(PlainDecoder, "start", noted)
    suitable_decoder(make("mistral", sliding_window=300))
    assert max(lengths) > 300


def test_scores_are_capped_as_in_training() -> None:
    model = make("gemma2", head_dim=16, sliding_window=4096, query_pre_attn_scalar=16, attn_logit_softcapping=0.5)
    expected = forward(model, draw_prompt(40))
    decoder = suitable_decoder(model)
    assert torch.allclose(decoded(decoder, draw_prompt(40)), expected, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("recurrent_gemma", {"lru_width": 64}),
        ("rwkv", {"attention_hidden_size": 64, "context_length": 512}),
        ("minimax", {"block_size": 8, "num_local_experts": 2, "head_dim": 16}),
        ("bert", {}),
        ("moshi", {"sliding_window": 16}),
    ],
    ids=[
        "no cache",
        "another cache",
        "a cache that is not repeated",
        "both directions",
        "a window in one pass or the other",
    ],
)
def test_a_model_that_cannot_be_decoded_is_refused_in_a_sentence(kind: str, settings: dict[str, object]) -> None:
    with pytest.raises(
        UserError, match=rf"\({kind}\) is of a kind that the engine `transformers` cannot decode"
    ) as raised:
        suitable_decoder(make(kind, **settings))
    assert "\n" not in str(raised.value)


def test_a_model_of_no_numbers_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama")
    model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(UserError, match=r"logits that are NaN"):
        suitable_decoder(model, tokenizer)


@pytest.mark.parametrize("name", ["llama", "qwen2_grouped"])
def test_a_fused_model_still_runs_and_takes_no_second_copy(name: str) -> None:
    model, prompt = make_model(name), draw_prompt(20)
    expected = forward(model, prompt)
    fused = LlamaForward(model)
    assert torch.equal(forward(model, prompt), expected)
    shared = {block.qkv.untyped_storage().data_ptr() for block in fused._blocks}
    assert {layer.self_attn.k_proj.weight.untyped_storage().data_ptr() for layer in model.model.layers} == shared


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2_sliding"])
def test_sixteen_bits_compute_in_thirty_two_for_a_while(name: str) -> None:
    model, prompt = make_model(name).to(torch.bfloat16), draw_prompt(20)
    wide, before = copy.deepcopy(model).float(), {n: p.data_ptr() for n, p in model.named_parameters()}
    narrowly = forward(model, prompt)
    with torch.inference_mode(), in_float32(model):
        widely = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
    assert torch.allclose(widely, forward(wide, prompt), atol=1e-5 * widely.abs().max().item())
    assert {n: p.data_ptr() for n, p in model.named_parameters()} == before
    assert torch.equal(forward(model, prompt), narrowly)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (("input_ids", "past_key_values"), "past_key_values"),
        (("input_ids", "cache_params"), "cache_params"),
        (("input_ids", "cache", "kwargs"), "cache"),
    ],
)
def test_the_cache_is_handed_over_by_the_name_that_the_model_takes(parameters: tuple[str, ...], name: str) -> None:
    """Transformers 5.24 accepts the old names without using what they hold."""
    assert cache_name(parameters) == name
