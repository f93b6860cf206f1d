"""The plain decoder: any causal model, through its own forward pass, attention and cache.

Belongs here: prefill once and decode rows of one length with the cache class of `transformers`. Not here: what is fast
(shared_prefix.py). It is what the fast decoder is held to, and what runs the models that the fast one does not.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selftaught_assets.engines.loading import exact_attention

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel


class PlainDecoder:
    """Runs rows whose prompts have equal lengths, so that no row is padded and no mask is needed."""

    mixes_lengths = False

    def __init__(self, model: "PreTrainedModel") -> None:
        model.set_attn_implementation(exact_attention(model))
        self._model = model
        accepted = inspect.signature(model.forward).parameters
        self._options = {"use_cache": True} | last_logits(model, 1)
        self._cache_name = "past_key_values" if "past_key_values" in accepted else "cache_params"

    def start(self, prompts: Sequence[Sequence[int]], owners: np.ndarray) -> "tuple[PlainRows, torch.Tensor]":
        """Prefills each prompt once and repeats its cache for its rows. Shapes as in SharedPrefixDecoder.

        Raises:
            ValueError: the model keeps what it read in another way than in such a cache, or not at all.
        """
        import torch

        ids = torch.tensor([list(prompt) for prompt in prompts], device=self._model.device)
        output = self._model(input_ids=ids, **self._options)
        rows = torch.from_numpy(owners).to(self._model.device)
        cache = output.get(self._cache_name)
        if cache is None:
            raise ValueError(f"its forward pass returns no {self._cache_name}, so that no token could follow")
        cache.reorder_cache(rows)
        return PlainRows(cache, rows), output.logits[rows, -1]

    def step(self, cohorts: "Sequence[PlainRows]", tokens: "torch.Tensor") -> "torch.Tensor":
        """Feeds every row its newest token, of shape (rows,), and returns logits of shape (rows, vocabulary)."""
        import torch

        logits = []
        for rows, ids in zip(cohorts, tokens.split([rows.count for rows in cohorts]), strict=True):
            output = self._model(input_ids=ids[:, None], **{self._cache_name: rows.cache}, **self._options)
            logits.append(output.logits[:, -1])
        return torch.cat(logits)


def last_logits(model: "PreTrainedModel", tokens: int) -> dict[str, int]:
    """The option that spares the logits of all tokens but the last ones, for a model that has it."""
    return {"logits_to_keep": tokens} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


class PlainRows:
    """The cache of rows that started together."""

    def __init__(self, cache: "Cache", owners: "torch.Tensor") -> None:
        self.cache = cache
        self.count = len(owners)
        self._device = owners.device

    def shrink(self, destinations: np.ndarray, sources: np.ndarray, live: int) -> None:
        """Copies the rows `sources` to `destinations`, then forgets all rows from `live` on."""
        import torch

        order = np.arange(live)
        order[destinations] = sources
        self.cache.reorder_cache(torch.from_numpy(order).to(self._device))
        self.count = live
