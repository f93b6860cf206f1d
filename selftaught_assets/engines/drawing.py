"""Drawing tokens: the random stream of a sample, and the nucleus of a distribution.

What is drawn for a row depends on that row alone, so no function here may mix rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selftaught_assets.recipe.engines import SamplingParameters

if TYPE_CHECKING:
    import torch

_COLD = 1e-20
"""Below this temperature a logit divided by it may exceed what float32 holds."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CANDIDATES = 8
"""Nearly every nucleus of a confident model fits into this many tokens; other rows are computed again."""


def stream_keys(seeds: Sequence[int], sample_indices: Sequence[int]) -> np.ndarray:
    """The key of each sample's random stream: uint64 of shape (samples,), a function of (seed, sample index)."""
    low_bits = np.array([seed & 0xFFFF_FFFF_FFFF_FFFF for seed in seeds], dtype=np.uint64)
    indices = np.array(sample_indices, dtype=np.uint64)
    return _mixed(_mixed(low_bits) + _mixed(indices + _GOLDEN))


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Number `position` of each stream: float64 of shape (samples,) in [0, 1), with 53 random bits (splitmix64)."""
    bits = _mixed(keys + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(logits: "torch.Tensor", uniform: "torch.Tensor", sampling: SamplingParameters) -> "torch.Tensor":
    """One token for each row: the most likely one at temperature 0, else by inverse transform within the nucleus.

    The nucleus is the smallest set of most likely tokens whose mass reaches top_p.

    Args:
        logits: shape (rows, vocabulary).
        uniform: float64 of shape (rows,), in [0, 1).

    Returns:
        int64 of shape (rows,).
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = _probabilities(logits, sampling.temperature)
    if sampling.top_p == 1:
        cumulative = probabilities.cumsum(-1, dtype=uniform.dtype)
        return _first_above(cumulative, uniform * cumulative[:, -1]).squeeze(-1)
    vocabulary = probabilities.shape[-1]
    tokens, complete = _draw_from_nucleus(probabilities, uniform, sampling.top_p, min(_CANDIDATES, vocabulary))
    for candidates in (_CANDIDATES**2, vocabulary):
        if complete.all():
            break
        rows = (~complete).nonzero().squeeze(-1)
        tokens[rows], complete[rows] = _draw_from_nucleus(
            probabilities[rows], uniform[rows], sampling.top_p, min(candidates, vocabulary)
        )
    return tokens


def _probabilities(logits: "torch.Tensor", temperature: float) -> "torch.Tensor":
    if temperature >= _COLD:
        return (logits.float() / temperature).softmax(-1)
    distances = logits.double() - logits.max(-1, keepdim=True).values.double()
    return (distances / temperature).softmax(-1).float()


def _draw_from_nucleus(
    probabilities: "torch.Tensor", uniform: "torch.Tensor", top_p: float, candidates: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Tokens, and in which rows the candidates held the whole nucleus (the other tokens mean nothing)."""
    top, tokens = probabilities.topk(candidates, dim=-1)
    cumulative = top.cumsum(-1, dtype=uniform.dtype)
    last = (cumulative < top_p).sum(-1, keepdim=True)
    complete = (last < candidates).squeeze(-1) | (candidates == probabilities.shape[-1])
    mass = cumulative.gather(-1, last.clamp_(max=candidates - 1)).squeeze(-1)
    return tokens.gather(-1, _first_above(cumulative, uniform * mass)).squeeze(-1), complete


def _first_above(cumulative: "torch.Tensor", target: "torch.Tensor") -> "torch.Tensor":
    """In each row the index of the first cumulative value above the target: shape (rows, 1)."""
    return (cumulative <= target[:, None]).sum(-1, keepdim=True).clamp_(max=cumulative.shape[-1] - 1)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
