"""Generation through the journal: what was sampled before is looked up, the rest is sampled and remembered."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from typing import NamedTuple

import polars as pl

from selftaught_assets.engines.protocol import Completion, Engine, Request
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import TEMPLATE_DATE, SamplingParameters
from selftaught_assets.staleness import SAMPLING_CODE
from selftaught_assets.storage.journal import SCHEMA, Journal, MemoryJournal

FLUSH_SECONDS = 2.0
FLUSH_COMPLETIONS = 20_000
REPORT_SECONDS = 0.5
REPORT_SHARE = 0.05
"""Of the samples to come: a batch whose rows end all at once is told as a whole, not as its first row."""


@dataclass(frozen=True)
class GenerationTask:
    """A conversation to complete, as sample indices `first` to n - 1."""

    request_id: str
    messages: list[dict[str, str]]
    n: int
    seed: int
    first: int = 0


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
    tasks: Sequence[GenerationTask],
    sampling: SamplingParameters,
    on_progress: Callable[[Progress], None],
    date: Date = TEMPLATE_DATE,
) -> Generated:
    """Completes every task.

    Completions reach the journal every two seconds, also if the engine fails, so a rerun asks only for the rest.

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
    requests = _requests(engine, tasks, sampling, date)
    wanted = pl.DataFrame(
        {
            "order": range(len(tasks)),
            "request_id": [task.request_id for task in tasks],
            "key": [request.request_id for request in requests],
            "first": [task.first for task in tasks],
            "n": [task.n for task in tasks],
        },
        schema={"order": pl.Int64, "request_id": pl.String, "key": pl.String, "first": pl.Int64, "n": pl.Int64},
    )
    wanted = wanted.with_columns(sample_index=pl.int_ranges("first", "n")).explode("sample_index", empty_as_null=False)
    known = journal.lookup(wanted["key"])
    unique = wanted.select("key", "sample_index").unique()
    missing = unique.join(known, on=["key", "sample_index"], how="anti")
    recorder = _Recorder(journal, on_progress, total=unique.height, to_sample=missing.height)
    if missing.height:
        recorder.record(engine, _asking_for(missing, requests))
    recorder.report()
    sampled = pl.concat([SCHEMA.to_frame(), *recorder.frames])
    completions = pl.concat([known.join(unique, on=["key", "sample_index"], how="semi"), sampled])
    frame = wanted.join(completions, on=["key", "sample_index"], how="left", maintain_order="left", validate="m:1")
    if frame["text"].null_count():
        raise RuntimeError(f"The engine left out {frame['text'].null_count()} completions of {frame.height}.")
    return Generated(
        frame.drop("order", "key", "first", "n", "shared_prompt_tokens"),
        sampled=_usage(sampled)._replace(seconds=recorder.seconds),
        used=_usage(completions),
    )


def completion_key(identity: str, request: Request) -> str:
    """What a completion depends on, but for its sample index: the model and the code, never a model's name or path."""
    return digest(
        "completion", SAMPLING_CODE, identity, request.prompt.token_ids, request.sampling.model_dump(), request.seed
    )


def _requests(
    engine: Engine, tasks: Sequence[GenerationTask], sampling: SamplingParameters, date: Date
) -> list[Request]:
    """A request for each task, named by its key, without sample indices yet."""
    unnamed = [Request("", engine.render(task.messages, date), sampling, task.seed, ()) for task in tasks]
    return [replace(request, request_id=completion_key(engine.identity, request)) for request in unnamed]


def _asking_for(missing: pl.DataFrame, requests: Sequence[Request]) -> list[Request]:
    """The requests for the missing sample indices."""
    by_key = {request.request_id: request for request in requests}
    indices = missing.group_by("key", maintain_order=True).agg(pl.col("sample_index").sort())
    return [replace(by_key[key], sample_indices=tuple(wanted)) for key, wanted in indices.iter_rows()]


def _usage(completions: pl.DataFrame) -> Usage:
    tokens = completions.select("prompt_tokens", "shared_prompt_tokens", "completion_tokens").sum().row(0)
    return Usage(completions.height, *tokens, failed=int((completions["finish_reason"] == "failed").sum()))


class _Recorder:
    """Takes completions from an engine into the journal, and tells how far it is."""

    def __init__(
        self,
        journal: Journal | MemoryJournal,
        on_progress: Callable[[Progress], None],
        *,
        total: int,
        to_sample: int,
    ) -> None:
        self.frames: list[pl.DataFrame] = []
        self.sampled = 0
        self.tokens = 0
        self.seconds = 0.0
        self._journal = journal
        self._on_progress = on_progress
        self._total = total
        self._to_sample = to_sample
        self._pending: list[Completion] = []
        self._telling = 1.0
        """Completions whose rate tells how long the rest will take."""

    def record(self, engine: Engine, requests: Sequence[Request]) -> None:
        completions = engine.generate(requests)  # Where the model waited for the first request, it is loaded here.
        started = flushed = reported = time.monotonic()
        told = 0
        self._telling = min(engine.capacity, REPORT_SHARE * self._to_sample)
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
                if now - reported >= REPORT_SECONDS or self.sampled - told >= REPORT_SHARE * self._to_sample:
                    self.report()
                    reported, told = now, self.sampled
        finally:
            self._flush()

    def report(self) -> None:
        left = self._to_sample - self.sampled
        rate = self.sampled / self.seconds if self.seconds and self.sampled >= self._telling else 0.0
        self._on_progress(
            Progress(
                done=self._total - left,
                total=self._total,
                tokens_per_second=self.tokens / self.seconds if self.seconds else 0.0,
                seconds_left=left / rate if rate else None if left else 0.0,
            )
        )

    def _flush(self) -> None:
        rows, self._pending = pl.DataFrame(self._pending, schema=SCHEMA, orient="row"), []
        costly = pl.col("finish_reason") != "prompt_too_long"  # To ask the others again costs nothing.
        self._journal.append(rows.filter(costly))
        self.frames.append(rows)
