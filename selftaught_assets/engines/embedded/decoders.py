"""The plain decoder, and the fast one that computes a prompt once for all of its samples.

The plain decoder runs any causal model through its own forward pass, attention and cache. It is what the fast decoder
is held to, and it runs the models that the fast one does not.

The fast decoder keeps one KV prefix for all samples of a prompt, and makes one forward pass for rows of any length.
Rows that start together form a cohort. Each prompt is prefilled once; at every step the queries of its samples attend
to that one prefix as a single matrix product, and each sample to its own suffix, which has the same length in the
whole cohort. So nothing is padded but prefixes, and nothing is copied per sample. The newest tokens of the suffix lie
token by token, where writing and short sums are cheap; every 32 of them are sealed row by row, where long products
are.

Rows must not depend on their neighbours, to the last bit. Matrix products of one to three rows round differently from
taller ones, and elementwise kernels treat the last few numbers of a tensor in another way, so rows and queries are
padded to multiples that avoid both.
"""

import inspect
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from selftaught_assets.engines.embedded.forward import Forward, attend_to, attend_to_few, join
from selftaught_assets.engines.pretrained import exact_attention

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel


def cache_name(accepted: Container[str]) -> str:
    """What a forward pass calls its cache, among the names of its parameters.

    Recurrent models call it cache_params. Since transformers 5.24 all call it cache.
    """
    return next((name for name in ("cache", "past_key_values") if name in accepted), "cache_params")


class PlainDecoder:
    """Runs rows whose prompts have equal lengths, so that no row is padded and no mask is needed."""

    mixes_lengths = False

    def __init__(self, model: "PreTrainedModel") -> None:
        model.set_attn_implementation(exact_attention(model))
        self._model = model
        self._options = {"use_cache": True} | last_logits(model, 1)
        self._cache_name = cache_name(inspect.signature(model.forward).parameters)

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


_PREFIX_MULTIPLE = 8
_KEY_MULTIPLE = 16
"""Keys come in multiples of this number: PyTorch's attention on processors is up to twice as slow at other lengths."""
_MIN_QUERIES = 4
_ROW_MULTIPLE = 16
_PREFILL_TOKENS = 8_192
_RECENT_TOKENS = 32
_COMPACT_BELOW = 0.75


class SharedPrefixDecoder:
    """Runs a model whose forward pass lets the decoder attend."""

    mixes_lengths = True

    def __init__(self, forward: Forward, device: "torch.device") -> None:
        """Runs `LlamaForward(model)`, or `own_forward(model)` of any other architecture."""
        self._forward = forward
        self._device = device

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
        cohort = Cohort(lengths, owners, self._device)
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
        logits = self._forward(
            torch.nn.functional.pad(tokens, (0, padding))[:, None],
            torch.nn.functional.pad(positions, (0, padding))[:, None],
            _StepAttention(cohorts).attend,
            None,
        )
        for cohort in cohorts:
            cohort.suffix_length += 1
        return logits[:rows, -1]

    def _prefill(
        self, cohort: "Cohort", prompts: Sequence[Sequence[int]], rows: np.ndarray, length: int
    ) -> "torch.Tensor":
        import torch

        device = self._device
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

        logits = self._forward(
            torch.from_numpy(ids).to(device),
            torch.arange(length, device=device)[None],
            attend,
            torch.from_numpy(kept).to(device),
        )
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
        self._prefix_length = int(_rounded_up(prompt_lengths.max(), _KEY_MULTIPLE))
        self._prefix: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._sealed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._recent: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
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
        rows, heads, size = query.shape
        key_heads, shared = key.shape[1], heads // key.shape[1]
        attended = attend_to_few(query, *self._recent_with(layer, key, value))
        if layer in self._sealed:
            part = attend_to(query.view(rows, key_heads, shared, size), *self._sealed[layer])
            attended = join(attended, tuple(numbers.reshape(rows, heads, -1) for numbers in part))

        prefix_keys, prefix_values = self._prefix[layer]
        prompts, group = len(prefix_keys), self._group
        grouped = query.new_zeros(prompts * group, heads, size).index_copy_(0, self._slots, query)
        grouped = grouped.view(prompts, group, key_heads, shared, size).transpose(1, 2)
        grouped = grouped.reshape(prompts, key_heads, group * shared, size)
        parts = []
        for part in attend_to(grouped, prefix_keys, prefix_values, self._prefix_mask):
            part = part.view(prompts, key_heads, group, shared, -1).transpose(1, 2)
            parts.append(part.reshape(prompts * group, heads, -1).index_select(0, self._slots))
        return join(attended, tuple(parts))[0]

    def shrink(self, destinations: np.ndarray, sources: np.ndarray, live: int) -> None:
        """Copies the rows `sources` to `destinations`, then forgets all rows from `live` on."""
        import torch

        to, of = torch.from_numpy(destinations).to(self._device), torch.from_numpy(sources).to(self._device)
        for pair in self._sealed.values():
            for store in pair:
                store[to] = store[of]
        used = (self.suffix_length - 1) % _RECENT_TOKENS + 1
        for pair in self._recent.values():
            for store in pair:
                store[:used].index_copy_(1, to, store[:used].index_select(1, of))
        self.owners[to] = self.owners[of]
        self.owners = self.owners[:live]
        self._sealed = {layer: (keys[:live], values[:live]) for layer, (keys, values) in self._sealed.items()}
        self._recent = {layer: (keys[:, :live], values[:, :live]) for layer, (keys, values) in self._recent.items()}
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

    def _recent_with(
        self, layer: int, key: "torch.Tensor", value: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Stores the newest keys and values, and returns the recent ones: shape (tokens, rows, key heads, size)."""
        import torch

        length = self.suffix_length % _RECENT_TOKENS
        if layer not in self._recent:
            self._recent[layer] = tuple(new.new_empty(_RECENT_TOKENS, *new.shape) for new in (key, value))
        elif length == 0:
            full = [store.permute(1, 2, 0, 3) for store in self._recent[layer]]
            if layer in self._sealed:
                full = [torch.cat(pair, dim=2) for pair in zip(self._sealed[layer], full, strict=True)]
            self._sealed[layer] = tuple(store.contiguous() for store in full)
        for store, new in zip(self._recent[layer], (key, value), strict=True):
            store[length] = new
        return tuple(store[: length + 1] for store in self._recent[layer])


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


def _rounded_up(values: np.ndarray, multiple: int) -> np.ndarray:
    return -(-values // multiple) * multiple
