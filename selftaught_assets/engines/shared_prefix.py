"""The fast decoder: one KV prefix for all samples of a prompt, one forward pass for rows of any length.

Belongs here: an attention function for the model's own forward pass, and the keys and values it works on. Not here:
which rows run, and when they end (decoding.py).

Rows that start together form a cohort. Each prompt is prefilled once; at every step the queries of its samples attend
to that one prefix as a single matrix product, and each sample to its own suffix, which has the same length in the whole
cohort. So nothing is padded but prefixes, and nothing is copied per sample. The two partial softmaxes are then joined.

Rows must not depend on their neighbours, to the last bit (DESIGN rule 5). Matrix products of one to three rows round
differently from taller ones, and elementwise kernels treat the last few numbers of a tensor in another way, so rows and
queries are padded to multiples that avoid both.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedModel

ATTENTION = "selftaught_shared_prefix"
_PREFIX_MULTIPLE = 8
_MIN_QUERIES = 4
_ROW_MULTIPLE = 16
_PREFILL_TOKENS = 8_192
_FIRST_CAPACITY = 32
_COMPACT_BELOW = 0.75
_HARMLESS = {"position_ids", "cache_position", "output_attentions", "use_cache", "is_causal", "dropout"}

Attend = Callable[[int, "torch.Tensor", "torch.Tensor", "torch.Tensor", float], "torch.Tensor"]
_active: ContextVar[Attend] = ContextVar("attend")


class UnsupportedModelError(Exception):
    """The model's attention needs something that this decoder does not do."""


class SharedPrefixDecoder:
    """Runs a model whose attention goes through the AttentionInterface of `transformers`."""

    mixes_lengths = True

    def __init__(self, model: "PreTrainedModel") -> None:
        """Switches the model to this attention. `use_plain_attention` undoes it."""
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, _attention)
        model.set_attn_implementation(ATTENTION)
        self._model = model

    def start(self, prompts: Sequence[Sequence[int]], owners: np.ndarray) -> "tuple[Cohort, torch.Tensor]":
        """Prefills each prompt once.

        Args:
            prompts: token ids, none empty.
            owners: int64 of shape (rows,): the prompt of each row, ascending.

        Returns:
            The rows' state, and the logits of each row's first token, of shape (rows, vocabulary).
        """
        import torch

        lengths = np.array([len(prompt) for prompt in prompts])
        cohort = Cohort(lengths, owners, self._model.device)
        padded = _rounded_up(lengths, _PREFIX_MULTIPLE)
        logits = None
        for length in np.unique(padded):
            rows = np.flatnonzero(padded == length)
            for part in np.array_split(rows, -(-len(rows) * length // _PREFILL_TOKENS)):
                values = self._prefill(cohort, [prompts[i] for i in part], part, int(length))
                logits = values.new_empty(len(prompts), values.shape[-1]) if logits is None else logits
                logits[torch.from_numpy(part).to(values.device)] = values
        return cohort, logits[cohort.owners]

    def step(self, cohorts: "Sequence[Cohort]", tokens: "torch.Tensor") -> "torch.Tensor":
        """Feeds every row its newest token, of shape (rows,), and returns logits of shape (rows, vocabulary)."""
        import torch

        rows = len(tokens)
        padding = -rows % _ROW_MULTIPLE
        positions = torch.cat([cohort.positions for cohort in cohorts])
        with _attending(_StepAttention(cohorts).attend):
            logits = self._model(
                input_ids=torch.nn.functional.pad(tokens, (0, padding))[:, None],
                position_ids=torch.nn.functional.pad(positions, (0, padding))[:, None],
                use_cache=False,
            ).logits
        for cohort in cohorts:
            cohort.suffix_length += 1
        return logits[:rows, -1]

    def _prefill(
        self, cohort: "Cohort", prompts: Sequence[Sequence[int]], rows: np.ndarray, length: int
    ) -> "torch.Tensor":
        import torch

        device = self._model.device
        ids = np.zeros((len(prompts), length), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        last = np.array([len(prompt) - 1 for prompt in prompts])
        kept = np.union1d(last, np.arange(max(_MIN_QUERIES - len(prompts), 0)))

        def attend(
            layer: int, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", scaling: float
        ) -> "torch.Tensor":
            cohort.store_prefix(layer, rows, key, value)
            attended = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
            )
            return attended.transpose(1, 2)

        with _attending(attend):
            logits = self._model(
                input_ids=torch.from_numpy(ids).to(device),
                position_ids=torch.arange(length, device=device)[None].expand(len(prompts), -1),
                use_cache=False,
                logits_to_keep=torch.from_numpy(kept).to(device),
            ).logits
        return logits[torch.arange(len(prompts)), torch.from_numpy(np.searchsorted(kept, last))]


class Cohort:
    """Keys and values of rows that started together."""

    def __init__(self, prompt_lengths: np.ndarray, owners: np.ndarray, device: "torch.device") -> None:
        import torch

        self.suffix_length = 0
        self.owners = torch.from_numpy(owners).to(device)
        """Prompt of each row."""
        self._device = device
        self._prompt_lengths = torch.from_numpy(prompt_lengths).to(device)
        self._prefix_length = int(_rounded_up(prompt_lengths.max(), _PREFIX_MULTIPLE))
        self._prefix: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._suffix: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._index()

    @property
    def positions(self) -> "torch.Tensor":
        """Position of each row's newest token."""
        return self._row_prompt_lengths + self.suffix_length

    def store_prefix(self, layer: int, prompts: np.ndarray, key: "torch.Tensor", value: "torch.Tensor") -> None:
        """Takes over the keys and values, of shape (prompts, heads, length, size), of some prompts."""
        import torch

        index = torch.from_numpy(prompts).to(self._device)
        if layer not in self._prefix:
            shape = (len(self._prompt_lengths), key.shape[1], self._prefix_length)
            self._prefix[layer] = key.new_zeros(*shape, key.shape[3]), value.new_zeros(*shape, value.shape[3])
        for store, new in zip(self._prefix[layer], (key, value), strict=True):
            store[index, :, : new.shape[2]] = new

    def attend(self, layer: int, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor") -> "torch.Tensor":
        """Attention of each row's newest token.

        Args:
            layer: index of the layer.
            query: shape (rows, heads, size), scaled.
            key: shape (rows, key heads, size).
            value: like `key`.

        Returns:
            Shape (rows, heads, size).
        """
        keys, values = self._suffix_with(layer, key, value)
        rows, heads, size = query.shape
        key_heads, shared = keys.shape[1], heads // keys.shape[1]
        own, own_mass = _attended(query.view(rows, key_heads, shared, size), keys, values)
        own, own_mass = own.reshape(rows, heads, -1), own_mass.reshape(rows, heads, 1)

        prefix_keys, prefix_values = self._prefix[layer]
        prompts, group = len(prefix_keys), self._group
        grouped = query.new_zeros(prompts * group, heads, size).index_copy_(0, self._slots, query)
        grouped = grouped.view(prompts, group, key_heads, shared, size).transpose(1, 2)
        grouped = grouped.reshape(prompts, key_heads, group * shared, size)
        parts = []
        for part in _attended(grouped, prefix_keys, prefix_values, self._prefix_mask):
            part = part.view(prompts, key_heads, group, shared, -1).transpose(1, 2)
            parts.append(part.reshape(prompts * group, heads, -1).index_select(0, self._slots))
        common, common_mass = parts
        return own.lerp(common, (common_mass - own_mass).sigmoid().to(own.dtype))

    def shrink(self, destinations: np.ndarray, sources: np.ndarray, live: int) -> None:
        """Copies the rows `sources` to `destinations`, then forgets all rows from `live` on."""
        import torch

        to, of = torch.from_numpy(destinations).to(self._device), torch.from_numpy(sources).to(self._device)
        used = self.suffix_length
        for pair in self._suffix.values():
            for store in pair:
                store[to, :, :used] = store[of, :, :used]
        self.owners[to] = self.owners[of]
        self.owners = self.owners[:live]
        self._suffix = {layer: (keys[:live], values[:live]) for layer, (keys, values) in self._suffix.items()}
        alive = self.owners.unique()
        if len(alive) <= _COMPACT_BELOW * len(self._prompt_lengths):
            self._prefix = {layer: (keys[alive], values[alive]) for layer, (keys, values) in self._prefix.items()}
            self._prompt_lengths = self._prompt_lengths[alive]
            self.owners = torch.searchsorted(alive, self.owners)
        self._index()

    def _index(self) -> None:
        """Gives each row a slot: its place among the `_group` queries of its prompt."""
        import torch

        counts = self.owners.bincount(minlength=len(self._prompt_lengths))
        self._group = max(int(counts.max()), _MIN_QUERIES)
        order = self.owners.argsort(stable=True)
        ranks = torch.arange(len(order), device=self._device) - (counts.cumsum(0) - counts)[self.owners[order]]
        self._slots = torch.empty_like(order).index_copy_(0, order, self.owners[order] * self._group + ranks)
        self._row_prompt_lengths = self._prompt_lengths[self.owners]
        beyond = torch.arange(self._prefix_length, device=self._device) >= self._prompt_lengths[:, None]
        self._prefix_mask = torch.zeros(beyond.shape, device=self._device)
        self._prefix_mask = self._prefix_mask.masked_fill_(beyond, float("-inf"))[:, None, None]

    def _suffix_with(
        self, layer: int, key: "torch.Tensor", value: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Stores the newest keys and values, and returns all of the layer."""
        length = self.suffix_length
        if layer not in self._suffix:
            self._suffix[layer] = tuple(new.new_empty(*_suffix_shape(new, _FIRST_CAPACITY)) for new in (key, value))
        elif length == self._suffix[layer][0].shape[2]:
            grown = tuple(new.new_empty(*_suffix_shape(new, 2 * length)) for new in (key, value))
            for store, old in zip(grown, self._suffix[layer], strict=True):
                store[:, :, :length] = old
            self._suffix[layer] = grown
        for store, new in zip(self._suffix[layer], (key, value), strict=True):
            store[:, :, length] = new
        keys, values = self._suffix[layer]
        return keys[:, :, : length + 1], values[:, :, : length + 1]


class _StepAttention:
    """Attention of one decoding step: hands each cohort its rows."""

    def __init__(self, cohorts: Sequence[Cohort]) -> None:
        self._cohorts = cohorts

    def attend(
        self, layer: int, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", scaling: float
    ) -> "torch.Tensor":
        query, key, value = (query * scaling).squeeze(2), key.squeeze(2), value.squeeze(2)
        attended = query.new_zeros(len(query), query.shape[1], value.shape[2])
        first = 0
        for cohort in self._cohorts:
            rows = slice(first, first + len(cohort.owners))
            attended[rows] = cohort.attend(layer, query[rows], key[rows], value[rows])
            first = rows.stop
        return attended[:, None]


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


def _attended(
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


def _suffix_shape(new: "torch.Tensor", capacity: int) -> tuple[int, int, int, int]:
    rows, heads, size = new.shape
    return rows, heads, capacity, size


def _rounded_up(values: np.ndarray, multiple: int) -> np.ndarray:
    return -(-values // multiple) * multiple
