"""Decoding: which rows run together, what each draws next, and when it ends."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from selftaught_assets.engines.chat import completion_texts
from selftaught_assets.engines.drawing import draw, stream_keys, uniforms
from selftaught_assets.engines.protocol import Choice, Completion, FinishReason, Request
from selftaught_assets.recipe.engines import SamplingParameters

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_REFILL_SHARE = 0.75
"""New rows join when so large a part of the rows is free. A small model pays more for another cohort than for a row:
0.75 sampled the demo's judgments a fifth faster than 0.5."""

_LOOK_AHEAD = 4
"""Samples that are sorted together, in units of the rows: their prompts, and no others, are in memory."""


_CHOOSING_ROWS = 32
"""Rows of which each chooses together: they end at once, and rarely share a prompt, so more would only take memory."""


class Decoder(Protocol):
    """A model's forward pass over rows with a state. A state belongs to rows that started together."""

    mixes_lengths: bool
    """Whether prompts of different lengths can start together."""

    def start(self, prompts: Sequence[Sequence[int]], owners: np.ndarray) -> "tuple[Any, torch.Tensor]":
        """Prefills each prompt; returns the state and the first logits of each row (rows, vocabulary)."""
        ...

    def step(self, cohorts: Sequence[Any], tokens: "torch.Tensor") -> "torch.Tensor":
        """Feeds one token to each row of all states; returns logits of shape (rows, vocabulary)."""
        ...


class Limits(NamedTuple):
    """What ends a completion besides its sampling parameters."""

    end_tokens: tuple[int, ...]
    context: int | None
    """Positions that the model has; None: no limit."""
    max_rows: int
    """Sequences decoded together."""
    empty_prompt_token: int
    """Stands for a prompt without tokens, which no model can be asked about."""


class _Sample(NamedTuple):
    request: Request
    index: int


@dataclass
class _Cohort:
    """Samples that started together: row i of every array belongs to samples[i]."""

    samples: list[_Sample]
    state: Any
    keys: np.ndarray
    limits: np.ndarray
    shared: np.ndarray
    """Prompt tokens that another row computed."""
    tokens: np.ndarray
    length: int = 0

    def append(self, tokens: np.ndarray) -> None:
        if self.length == self.tokens.shape[1]:
            self.tokens = np.concatenate([self.tokens, np.empty_like(self.tokens)], axis=1)
        self.tokens[:, self.length] = tokens
        self.length += 1

    def remove(self, ended: np.ndarray) -> None:
        """Moves the last live rows into the places of the ended ones, then cuts."""
        live = len(self.samples) - int(ended.sum())
        destinations = np.flatnonzero(ended[:live])
        sources = live + np.flatnonzero(~ended[live:])
        for array in (self.keys, self.limits, self.shared, self.tokens):
            array[destinations] = array[sources]
        self.keys, self.limits, self.shared = self.keys[:live], self.limits[:live], self.shared[:live]
        self.tokens = self.tokens[:live]
        for destination, source in zip(destinations, sources, strict=True):
            self.samples[destination] = self.samples[source]
        del self.samples[live:]
        if live:
            self.state.shrink(destinations, sources, live)


def decode(
    decoder: Decoder, tokenizer: "PreTrainedTokenizerBase", limits: Limits, requests: Iterable[Request]
) -> Iterator[Completion]:
    """Yields each completion as it finishes, exactly one for each sample of the requests.

    Requests are taken as they are needed. Those that follow each other with equal sampling and choices run together.
    """
    for (sampling, choices), group in groupby(requests, key=lambda one: (one.sampling, one.prompt.choices)):
        yield from _Run(decoder, tokenizer, limits, sampling, choices, group).completions()


def _order(sample: _Sample) -> tuple[int, tuple[int, ...]]:
    """Long prompts first (they tend to end last), then equal prompts together."""
    prompt = sample.request.prompt.token_ids
    return -len(prompt), prompt


class _Run:
    """Samples with the same sampling parameters, and the same choices."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: "PreTrainedTokenizerBase",
        limits: Limits,
        sampling: SamplingParameters,
        choices: Sequence[Choice],
        requests: Iterator[Request],
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._limits = limits._replace(max_rows=min(limits.max_rows, _CHOOSING_ROWS)) if choices else limits
        self._sampling = sampling
        self._choices = choices
        self._coming = requests
        self._waiting: list[_Sample] = []
        """Samples that were looked at and have not started, the last one first."""
        self._end_tokens = np.array(limits.end_tokens, dtype=np.int64)
        # A token stands for at least one byte, save for a few that only join others.
        self._stop_window = max((len(stop.encode()) for stop in sampling.stop), default=0) + 8

    def completions(self) -> Iterator[Completion]:
        import torch

        cohorts: list[_Cohort] = []
        with torch.inference_mode():
            while True:
                free = self._limits.max_rows - sum(len(cohort.samples) for cohort in cohorts)
                has_room = free >= _REFILL_SHARE * self._limits.max_rows or not cohorts
                if has_room and len(self._waiting) < free:
                    yield from self._look_ahead()
                if has_room and self._waiting:
                    cohort, logits = self._start(free)
                    cohorts.append(cohort)
                    yield from self._advance([cohort], logits)
                elif not cohorts:
                    return
                else:
                    newest = np.concatenate([cohort.tokens[:, cohort.length - 1] for cohort in cohorts])
                    tokens = torch.from_numpy(newest).to(logits.device)
                    logits = self._decoder.step([cohort.state for cohort in cohorts], tokens)
                    yield from self._advance(cohorts, logits)
                cohorts = [cohort for cohort in cohorts if cohort.samples]

    def _look_ahead(self) -> Iterator[Completion]:
        """Takes so many requests that their samples can be put into a good order; tells which are too long."""
        samples = self._waiting[::-1]
        for request in self._coming:
            length = len(request.prompt.token_ids)
            if self._limits.context is not None and length >= self._limits.context:
                for index in request.sample_indices:
                    yield Completion(request.request_id, index, "", "prompt_too_long", length, 0)
                continue
            samples += [_Sample(request, index) for index in request.sample_indices]
            if len(samples) >= _LOOK_AHEAD * self._limits.max_rows:
                break
        self._waiting = sorted(samples, key=_order)[::-1]

    def _start(self, room: int) -> "tuple[_Cohort, torch.Tensor]":
        samples = [self._waiting.pop()]
        length = len(samples[0].request.prompt.token_ids)
        while self._waiting and len(samples) < room:
            if not self._decoder.mixes_lengths and len(self._waiting[-1].request.prompt.token_ids) != length:
                break
            samples.append(self._waiting.pop())
        prompts, owners, shared = [], *np.zeros((2, len(samples)), dtype=np.int64)
        for row, sample in enumerate(samples):
            prompt = sample.request.prompt.token_ids or (self._limits.empty_prompt_token,)
            if prompts and prompts[-1] == prompt:
                shared[row] = len(sample.request.prompt.token_ids)
            else:
                prompts.append(prompt)
            owners[row] = len(prompts) - 1
        limits = np.full(len(samples), self._sampling.max_tokens)
        if self._limits.context is not None:
            limits = np.minimum(limits, self._limits.context - np.array([len(prompt) for prompt in prompts])[owners])
        state, logits = self._decoder.start(prompts, owners)
        keys = stream_keys([sample.request.seed for sample in samples], [sample.index for sample in samples])
        tokens = np.empty((len(samples), 64), dtype=np.int64)
        return _Cohort(samples, state, keys, limits, shared, tokens), logits

    def _advance(self, cohorts: Sequence[_Cohort], logits: "torch.Tensor") -> Iterator[Completion]:
        """Draws the next token of every row, of all cohorts in turn, and takes out the rows that end with it."""
        import torch

        keys = np.concatenate([cohort.keys for cohort in cohorts])
        positions = np.concatenate([np.full(len(cohort.samples), cohort.length) for cohort in cohorts])
        uniform = torch.from_numpy(uniforms(keys, positions)).to(logits.device)
        if self._choices:
            logits = logits[:, [choice.token for choice in self._choices]]
        tokens = draw(logits, uniform, self._sampling).cpu().numpy()
        first = 0
        for cohort in cohorts:
            rows = slice(first, first + len(cohort.samples))
            first = rows.stop
            cohort.append(tokens[rows])
            stopped = np.full(len(cohort.samples), True) if self._choices else np.isin(tokens[rows], self._end_tokens)
            ended = stopped | (cohort.limits <= cohort.length)
            if self._sampling.stop:
                stopped |= self._holds_stop_string(cohort)
                ended |= stopped
            if ended.any():
                yield from self._finished(cohort, ended, stopped)
                cohort.remove(ended)

    def _holds_stop_string(self, cohort: _Cohort) -> np.ndarray:
        """In which rows the newest tokens hold a stop string."""
        newest = cohort.tokens[:, max(cohort.length - self._stop_window, 0) : cohort.length].tolist()
        tails = self._tokenizer.batch_decode(newest, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return np.array([any(stop in tail for stop in self._sampling.stop) for tail in tails])

    def _finished(self, cohort: _Cohort, ended: np.ndarray, stopped: np.ndarray) -> list[Completion]:
        rows = np.flatnonzero(ended)
        tokens = cohort.tokens[rows, : cohort.length].tolist()
        if self._choices:
            texts = [self._choices[place].text for (place,) in tokens]
        else:
            texts = completion_texts(self._tokenizer, tokens, self._limits.end_tokens, self._sampling.stop)
        completions = []
        for row, text in zip(rows, texts, strict=True):
            request, index = cohort.samples[row]
            reason: FinishReason = "stop" if stopped[row] else "length"
            tokens_of = len(request.prompt.token_ids), cohort.length, int(cohort.shared[row])
            completions.append(Completion(request.request_id, index, text, reason, *tokens_of))
        return completions
