"""Generation through the journal: what was sampled before is looked up, the rest is sampled and remembered."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from itertools import chain
from typing import NamedTuple

import polars as pl

from selftaught_assets.engines.protocol import Completion, Engine, Request
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import TEMPLATE_DATE, SamplingParameters
from selftaught_assets.staleness import SAMPLING_CODE
from selftaught_assets.storage.journal import SCHEMA, Index, Journal, MemoryJournal

FLUSH_SECONDS = 2.0
FLUSH_COMPLETIONS = 20_000
REPORT_SECONDS = 0.5
REPORT_SHARE = 0.05
"""Of the samples to come: a batch whose rows end all at once is told as a whole, not as its first row."""
_COMPLETION = ["key", "sample_index"]


@dataclass(frozen=True)
class GenerationTask:
    """A conversation to complete, as sample indices `first` to n - 1."""

    request_id: str
    messages: list[dict[str, str]]
    n: int
    seed: int
    first: int = 0
    reply: str = ""
    """What the assistant has said of its turn already."""
    choices: tuple[str, ...] = ()
    """If there are any, what its completion may be."""


@dataclass(frozen=True)
class Tasks:
    """Conversations to complete, each made when its turn comes: all prompts of a stage can be larger than memory."""

    samples: int
    """Completions that all of them ask for."""
    each: Iterable[GenerationTask]
    """Gone through once."""
    elicits: bool = False
    """Whether they ask for the verdicts of judgments that were sampled before."""

    def __iter__(self) -> Iterator[GenerationTask]:
        return iter(self.each)


class Progress(NamedTuple):
    """How far a generation is. `done` and `total` count completions, with those that the journal had."""

    done: int
    total: int
    tokens_per_second: float
    """Of this call's own sampling."""
    seconds_left: float | None
    """None before there is anything to judge by: the first to end are the shortest."""


class Usage(NamedTuple):
    """What completions cost; add two with `plus`."""

    completions: int = 0
    prompt_tokens: int = 0
    """Once for each completion, whoever computed them."""
    shared_prompt_tokens: int = 0
    """Of these, those that were not computed again, since the cache of another completion had them."""
    completion_tokens: int = 0
    failed: int = 0
    """Completions that failed for good."""
    seconds: float = 0.0
    """From the first request to the last completion, without the loading of the model; 0 where nothing was sampled."""

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*(one + another for one, another in zip(self, other, strict=True)))


class Generated(NamedTuple):
    """The completions, and what they cost."""

    frame: pl.DataFrame
    """request_id, sample_index, text, finish_reason, prompt_tokens, completion_tokens, error; in the order of the
    tasks, then of the sample indices."""
    sampled: Usage
    """Of the completions that the journal did not have."""
    used: Usage
    """Of all completions, each once, when they were sampled; without seconds."""


def generate(
    engine: Engine,
    journal: Journal | MemoryJournal,
    tasks: Tasks | Sequence[GenerationTask],
    sampling: SamplingParameters,
    on_progress: Callable[[Progress], None],
    date: Date = TEMPLATE_DATE,
) -> Generated:
    """Completes every task.

    Completions reach the journal every two seconds, also if the engine fails, so a rerun asks only for the rest. A
    prompt is rendered when the engine takes its request, and is in memory as long as the engine keeps that.

    Args:
        engine: samples what is missing.
        journal: what was sampled before; may belong to many models.
        tasks: what to complete. Tasks with equal content share their completions.
        sampling: how, for all tasks.
        on_progress: called every half second and every twentieth of the way, where completions arrive; and at the end.
        date: what a chat template that asks for the date is told.

    Raises:
        UserError: the disk is full, or the model has no chat template.
    """
    wanted = _Wanted(engine, journal.index(), tasks, sampling, date)
    recorder = _Recorder(journal, on_progress, wanted)
    requests = wanted.requests()
    if (first := next(requests, None)) is not None:  # A model that nothing is asked of is not loaded.
        recorder.record(engine, chain([first], requests))
    for _ in requests:
        pass  # Of an engine that left some out: they are missed below.
    recorder.report()
    asked = wanted.frame()
    sampled = pl.concat([SCHEMA.to_frame(), *recorder.frames])
    known = journal.lookup(asked["key"]) if wanted.known else SCHEMA.to_frame()
    known = known.join(asked, on=_COMPLETION, how="semi").join(sampled, on=_COMPLETION, how="anti")
    completions = pl.concat([known, sampled])
    frame = asked.join(completions, on=_COMPLETION, how="left", maintain_order="left", validate="m:1")
    if frame["text"].null_count():
        raise RuntimeError(f"The engine left out {frame['text'].null_count()} completions of {frame.height}.")
    return Generated(
        frame.drop("key", "shared_prompt_tokens"),
        sampled=_usage(sampled)._replace(seconds=recorder.seconds),
        used=_usage(completions),
    )


def completion_key(identity: str, request: Request) -> str:
    """What a completion depends on, but for its sample index: the model and the code, never a model's name or path."""
    prompt, choices = request.prompt, request.prompt.choices
    sampling, seed = request.sampling.model_dump(), request.seed
    return digest(
        "completion", SAMPLING_CODE, identity, prompt.token_ids, sampling, seed, *([choices] if choices else [])
    )


class _Wanted:
    """What the tasks ask for: made into requests one at a time, so that no prompt is kept which nobody works on."""

    def __init__(
        self,
        engine: Engine,
        index: Index,
        tasks: Tasks | Sequence[GenerationTask],
        sampling: SamplingParameters,
        date: Date,
    ) -> None:
        self.total = tasks.samples if isinstance(tasks, Tasks) else sum(task.n - task.first for task in tasks)
        """Distinct completions, as far as it is known which tasks share theirs."""
        self.known = 0
        """Of these, those that the journal has, as far as it was asked."""
        self._engine = engine
        self._index = index
        self._tasks = tasks
        self._sampling = sampling
        self._date = date
        self._rows: list[tuple[str, str, int, int]] = []
        self._taken: dict[str, int] = {}
        """By key: bit i is set where sample index i was wanted before."""

    def requests(self) -> Iterator[Request]:
        """A request, named by its key, for what is missing of each task, in their order."""
        for task in self._tasks:
            prompt = self._engine.render(task.messages, self._date, task.reply, task.choices)
            unnamed = Request("", prompt, self._sampling, task.seed, ())
            key = completion_key(self._engine.identity, unnamed)
            self._rows.append((task.request_id, key, task.first, task.n))
            wanted, taken = (1 << task.n) - (1 << task.first), self._taken.get(key, 0)
            self._taken[key] = taken | wanted
            new = wanted & ~taken
            missing = new & ~sum(1 << sample for sample in self._index.samples(key))
            self.total -= (wanted & taken).bit_count()
            self.known += (new & ~missing).bit_count()
            if missing:
                indices = tuple(sample for sample in range(task.first, task.n) if missing >> sample & 1)
                yield replace(unnamed, request_id=key, sample_indices=indices)

    def frame(self) -> pl.DataFrame:
        """request_id, key and sample_index of every completion that was wanted, in the order of the tasks."""
        schema = {"request_id": pl.String, "key": pl.String, "first": pl.Int64, "n": pl.Int64}
        tasks = pl.DataFrame(self._rows, schema, orient="row")
        indices = tasks.select("request_id", "key", sample_index=pl.int_ranges("first", "n"))
        return indices.explode("sample_index", empty_as_null=False)


def _usage(completions: pl.DataFrame) -> Usage:
    tokens = completions.select("prompt_tokens", "shared_prompt_tokens", "completion_tokens").sum().row(0)
    return Usage(completions.height, *tokens, failed=int((completions["finish_reason"] == "failed").sum()))


class _Recorder:
    """Takes completions from an engine into the journal, and tells how far it is."""

    def __init__(
        self,
        journal: Journal | MemoryJournal,
        on_progress: Callable[[Progress], None],
        wanted: _Wanted,
    ) -> None:
        self.frames: list[pl.DataFrame] = []
        self.sampled = 0
        self.tokens = 0
        self.seconds = 0.0
        self._journal = journal
        self._on_progress = on_progress
        self._wanted = wanted
        self._pending: list[Completion] = []
        self._capacity = 1

    def record(self, engine: Engine, requests: Iterable[Request]) -> None:
        completions = engine.generate(requests)  # Where the model waited for the first request, it is loaded here.
        started = flushed = reported = time.monotonic()
        told = 0
        self._capacity = engine.capacity
        try:
            for completion in completions:
                self._pending.append(completion)
                self.sampled += 1
                self.tokens += completion.completion_tokens
                now = time.monotonic()
                self.seconds = now - started
                if now - flushed >= FLUSH_SECONDS or len(self._pending) >= FLUSH_COMPLETIONS:
                    self._flush()
                    flushed = now
                if now - reported >= REPORT_SECONDS or self.sampled - told >= self._share:
                    self.report()
                    reported, told = now, self.sampled
        finally:
            self._flush()

    def report(self) -> None:
        done = self._wanted.known + self.sampled
        left = self._wanted.total - done
        tells = self.seconds and self.sampled >= min(self._capacity, self._share)  # The first to end are the shortest.
        rate = self.sampled / self.seconds if tells else 0.0
        self._on_progress(
            Progress(
                done=done,
                total=self._wanted.total,
                tokens_per_second=self.tokens / self.seconds if self.seconds else 0.0,
                seconds_left=left / rate if rate else None if left else 0.0,
            )
        )

    @property
    def _share(self) -> float:
        """As many samples as are worth a report."""
        return REPORT_SHARE * (self._wanted.total - self._wanted.known)

    def _flush(self) -> None:
        rows, self._pending = pl.DataFrame(self._pending, schema=SCHEMA, orient="row"), []
        costly = pl.col("finish_reason") != "prompt_too_long"  # To ask the others again costs nothing.
        self._journal.append(rows.filter(costly))
        self.frames.append(rows)
