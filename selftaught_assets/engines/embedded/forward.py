"""Forward passes whose attention is the decoder's: Llama's written out, and that of any model of `transformers`.

A query attends to keys that lie in several places. A part is the attended values and the logarithm of the sum of
exponentials of the scores, from which parts are joined.

Llama and its kin are written out: the same mathematics in a third of the operations. Projections of the same input
are one matrix product, queries and keys are rotated together, and residuals are added by the product that makes them.
For a small model that is most of what is not matrix products.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


Attend = Callable[[int, "torch.Tensor", "torch.Tensor", "torch.Tensor", float], "torch.Tensor"]
"""Attention of a layer: (layer, query, key, value, scaling), each (rows, heads, tokens, size), to (rows, tokens, heads,
size)."""
Forward = Callable[["torch.Tensor", "torch.Tensor", Attend, "torch.Tensor | None"], "torch.Tensor"]
"""Logits of a model: (ids, positions, attend, kept), see LlamaForward."""

_BLOCK_NUMBERS = 2**21


def join(
    one: "tuple[torch.Tensor, torch.Tensor]", other: "tuple[torch.Tensor, torch.Tensor]"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The attention over two sets of keys, from that over each."""
    import torch

    (attended, mass), (others, other_mass) = one, other
    weight = (other_mass - mass).sigmoid().to(attended.dtype)
    return attended.lerp(others, weight), torch.logaddexp(mass, other_mass)


def attend_to_few(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Attention over few keys of each row.

    On a processor, one query against a handful of keys costs less as sums of products over all rows than as many tiny
    matrix products; block by block, so that the products stay in the cache.

    Args:
        query: shape (rows, heads, size), scaled.
        keys: shape (tokens, rows, key heads, size).
        values: like `keys`.

    Returns:
        Shape (rows, heads, size), and the logarithm of the sum of exponentials, of shape (rows, heads, 1).
    """
    import torch

    tokens, rows, key_heads, size = keys.shape
    heads = query.shape[1]
    if heads != key_heads or not query.is_cpu:
        grouped = query.reshape(rows, key_heads, heads // key_heads, size)
        part = attend_to(grouped, keys.permute(1, 2, 0, 3), values.permute(1, 2, 0, 3))
        return tuple(numbers.reshape(rows, heads, -1) for numbers in part)
    attended, mass = torch.empty_like(query), query.new_empty(rows, heads, 1)
    step = max(_BLOCK_NUMBERS // (tokens * heads * size), 1)
    for first in range(0, rows, step):
        block = slice(first, first + step)
        scores = (query[block] * keys[:, block]).sum(-1, keepdim=True)
        torch.logsumexp(scores, 0, out=mass[block])
        weights = scores.sub_(mass[block]).exp_()
        torch.mul(weights[0], values[0, block], out=attended[block])
        for token in range(1, tokens):
            attended[block].addcmul_(weights[token], values[token, block])
    return attended, mass


def attend_to(
    query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", mask: "torch.Tensor | None" = None
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Softmax attention of scaled queries, and the logarithm of the sum of exponentials (heads and queries kept)."""
    import torch

    if query.is_cpu and query.shape[-1] == values.shape[-1]:
        mask = None if mask is None else mask.expand(*query.shape[:3], -1)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, values, attn_mask=mask, scale=1.0
        )
    scores = (query @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores += mask
    return scores.softmax(-1).to(values.dtype) @ values, scores.logsumexp(-1)


_MODEL_TYPES = {"llama", "mistral", "qwen2"}


class _Block(NamedTuple):
    """Weights of a layer, transposed: shape (inputs, outputs)."""

    norm_1: "torch.Tensor"
    qkv: "torch.Tensor"
    qkv_bias: "torch.Tensor | None"
    out: "torch.Tensor"
    norm_2: "torch.Tensor"
    gate_up: "torch.Tensor"
    down: "torch.Tensor"


def suits(model: "PreTrainedModel") -> bool:
    """Whether the model is built of such blocks and nothing else."""
    config = model.config
    return (
        config.model_type in _MODEL_TYPES
        and config.hidden_act == "silu"
        and not getattr(config, "mlp_bias", False)
        and all(layer.self_attn.o_proj.bias is None for layer in model.model.layers)
    )


class LlamaForward:
    """Fuses the weights of a model that `suits`, layer by layer, so memory grows by one layer for a moment.

    The model's own projections become views of the fused weights: it runs as before.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        config = model.config
        self._embed = model.model.embed_tokens
        self._rotary = model.model.rotary_emb
        self._norm = model.model.norm.weight
        self._head = model.lm_head.weight.T
        self._eps = config.rms_norm_eps
        self._size = model.model.layers[0].self_attn.head_dim
        self._heads, self._key_heads = config.num_attention_heads, config.num_key_value_heads
        self._scaling = model.model.layers[0].self_attn.scaling
        self._blocks = [_fused(layer) for layer in model.model.layers]

    def __call__(
        self, ids: "torch.Tensor", positions: "torch.Tensor", attend: "Attend", kept: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Logits of the tokens at the indices `kept` (all by default).

        Args:
            ids: shape (rows, tokens).
            positions: shape (rows, tokens), or (1, tokens) where all rows agree.
            attend: attention of one layer.
            kept: indices of tokens, the same for all rows.

        Returns:
            Shape (rows, kept, vocabulary).
        """
        import torch

        rows, tokens = ids.shape
        states = self._embed(ids).view(rows * tokens, -1)
        cos, sin = self._rotary(states, positions)
        cos, sin = (values[:, :, None, : self._size // 2] for values in (cos, sin))
        for layer, block in enumerate(self._blocks):
            projected = self._normalised(states, block.norm_1) @ block.qkv
            if block.qkv_bias is not None:
                projected += block.qkv_bias
            projected = projected.view(rows, tokens, self._heads + 2 * self._key_heads, self._size)
            values = projected[:, :, self._heads + self._key_heads :]
            rotated = _rotated(projected[:, :, : self._heads + self._key_heads], cos, sin)
            query, key = rotated.split([self._heads, self._key_heads], dim=2)
            attended = attend(layer, query.transpose(1, 2), key.transpose(1, 2), values.transpose(1, 2), self._scaling)
            states.addmm_(attended.reshape(rows * tokens, -1), block.out)
            gate, up = (self._normalised(states, block.norm_2) @ block.gate_up).chunk(2, dim=-1)
            states.addmm_(torch.nn.functional.silu(gate, inplace=True).mul_(up), block.down)
        states = states.view(rows, tokens, -1)
        states = states if kept is None else states[:, kept]
        return self._normalised(states, self._norm) @ self._head

    def _normalised(self, states: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.nn.functional.rms_norm(states, weight.shape, weight, self._eps)


def _rotated(vectors: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor") -> "torch.Tensor":
    """Rotary embedding of shape (rows, tokens, heads, size); number i turns with number i + size / 2."""
    import torch

    rotated = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    first, second = vectors.chunk(2, dim=-1)
    to_first, to_second = rotated.chunk(2, dim=-1)
    torch.mul(first, cos, out=to_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=to_second).addcmul_(first, sin)
    return rotated


def _fused(layer: "torch.nn.Module") -> _Block:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return _Block(
        norm_1=layer.input_layernorm.weight,
        qkv=_joined(qkv, "weight").T,
        qkv_bias=None if attention.q_proj.bias is None else _joined(qkv, "bias"),
        out=attention.o_proj.weight.detach().T,
        norm_2=layer.post_attention_layernorm.weight,
        gate_up=_joined([mlp.gate_proj, mlp.up_proj], "weight").T,
        down=mlp.down_proj.weight.detach().T,
    )


def _joined(projections: "list[torch.nn.Module]", name: str) -> "torch.Tensor":
    """One tensor for a parameter of several layers, which becomes a view of it in each."""
    import torch

    parameters = [getattr(projection, name) for projection in projections]
    joined = torch.cat([parameter.detach() for parameter in parameters])
    for parameter, part in zip(parameters, joined.split([len(parameter) for parameter in parameters]), strict=True):
        parameter.data = part
    return joined


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
