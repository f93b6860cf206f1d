"""Attention of a query to keys that lie in several places: the parts, and how they are joined.

Belongs here: pure functions of tensors, and the types by which decoders and forward passes meet. Not here: where keys
and values are kept (shared_prefix.py).

A part is the attended values and the logarithm of the sum of exponentials of the scores, from which parts are joined.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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
