"""The written-out forward pass, held to the model's own."""

import pytest
import torch

from selftaught_assets.engines.embedded.forward import LlamaForward, suits
from selftaught_assets_tests.engines.conftest import CONFIGS, LLAMA_KIN, make_model

IDS = torch.tensor([[5, 9, 200, 31, 7, 7, 8, 100], [1, 2, 3, 4, 250, 6, 7, 8]])
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def causal_attention(layer: int, query, key, value, scaling: float) -> torch.Tensor:
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return attended.transpose(1, 2)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "sliding" not in name])
def test_only_llama_and_its_kin_suit(name: str) -> None:
    assert suits(make_model(name)) == (name in LLAMA_KIN)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LLAMA_KIN)
@torch.inference_mode()
def test_logits_are_those_of_the_model(name: str, dtype: torch.dtype) -> None:
    positions = torch.arange(3, 11)[None]
    expected = make_model(name).to(dtype)(input_ids=IDS, position_ids=positions.expand(2, -1), use_cache=False).logits
    logits = LlamaForward(make_model(name).to(dtype))(IDS, positions, causal_attention)
    assert (logits - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@torch.inference_mode()
def test_only_the_tokens_asked_for_get_logits() -> None:
    forward = LlamaForward(make_model("llama"))
    everything = forward(IDS, torch.arange(8)[None], causal_attention)
    kept = forward(IDS, torch.arange(8)[None], causal_attention, torch.tensor([2, 7]))
    assert torch.allclose(kept, everything[:, [2, 7]], atol=1e-5)


def test_a_model_with_biases_in_its_feed_forward_does_not_suit() -> None:
    model = make_model("llama")
    model.config.mlp_bias = True
    assert not suits(model)
