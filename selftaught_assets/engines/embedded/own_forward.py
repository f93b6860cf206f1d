"""The forward pass of any model of `transformers`, with attention handed to the decoder.

Belongs here: the hooks in AttentionInterface and AttentionMaskInterface of `transformers`. Not here: what the decoder
does in them (shared_prefix.py), and the written-out pass of common models (llama_forward.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from selftaught_assets.engines.embedded.attention import Attend, Forward

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ATTENTION = "selftaught_shared_prefix"
_HARMLESS = {"position_ids", "cache_position", "output_attentions", "use_cache", "is_causal", "dropout"}

_active: ContextVar[Attend] = ContextVar("attend")


class UnsupportedModelError(Exception):
    """The model's attention needs something that this decoder does not do."""


def own_forward(model: "PreTrainedModel") -> Forward:
    """The model's own forward pass, with attention handed to the decoder."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _mask)
    model.set_attn_implementation(ATTENTION)

    def forward(
        ids: "torch.Tensor", positions: "torch.Tensor", attend: Attend, kept: "torch.Tensor | None"
    ) -> "torch.Tensor":
        options = {} if kept is None else {"logits_to_keep": kept}
        positions = positions.expand(len(ids), -1)
        with _attending(attend):
            return model(input_ids=ids, position_ids=positions, use_cache=False, **options).logits

    return forward


def _mask(*, mask_function: Callable[..., object], local_size: int | None = None, **_: object) -> None:
    """What `transformers` calls for each kind of mask: the decoder masks by itself, each token seeing all before it."""
    from transformers.masking_utils import causal_mask_function

    if local_size is not None:
        raise UnsupportedModelError(f"attention to the nearest {local_size} tokens alone")
    if mask_function is not causal_mask_function:
        raise UnsupportedModelError("attention that is not causal")


def _attention(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: object,
    scaling: float | None = None,
    **features: object,
) -> "tuple[torch.Tensor, None]":
    """What `transformers` calls in each layer; shapes (rows, heads, tokens, size) to (rows, tokens, heads, size)."""
    needed = sorted(name for name, value in features.items() if value is not None and name not in _HARMLESS)
    if needed:
        raise UnsupportedModelError(f"attention with {', '.join(needed)}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _active.get()(module.layer_idx, query, key, value, scaling), None


@contextmanager
def _attending(attend: Attend) -> "Iterator[None]":
    token = _active.set(attend)
    try:
        yield
    finally:
        _active.reset(token)
