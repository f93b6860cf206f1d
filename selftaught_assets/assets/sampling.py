"""Sampling inside an asset: opens the engine and the journal, tells how far it is, and adds up what it cost.

Belongs here: what the sampling assets share. Not here: what is asked for (each asset), how text is generated (engines).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import GenerationTask, Progress, generate
from selftaught_assets.engines.protocol import Engine, SamplingParameters
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.prompts import judge_messages
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference
from selftaught_assets.storage.progress import StageProgress, write_progress

LOG_EVERY_SECONDS = 10.0


class Sampler:
    """One model at work for one asset."""

    def __init__(self, context: dg.AssetExecutionContext, family: Family, stage: str, engine: Engine) -> None:
        self._context = context
        self._family = family
        self._stage = stage
        self._engine = engine
        self._journal = Journal(family.layout.journal(stage))
        self._last_logged = time.monotonic()
        self._totals = {"completions": 0, "completions_sampled": 0, "completion_tokens": 0}
        self._tokens_sampled = 0
        self._seconds = 0.0

    @property
    def model_digest(self) -> str:
        return self._engine.model_digest

    def sample(self, tasks: Sequence[GenerationTask], sampling: SamplingParameters) -> pl.DataFrame:
        """The completions of the tasks, sampled now or remembered, in the order of the tasks."""
        generated = generate(self._engine, self._journal, tasks, sampling, self._report)
        self._totals["completions"] += generated.frame.height
        self._totals["completions_sampled"] += generated.sampled
        self._totals["completion_tokens"] += int(generated.frame["completion_tokens"].sum())
        self._tokens_sampled += generated.sampled_tokens
        self._seconds += generated.seconds
        return generated.frame

    def costs(self) -> dict[str, int | float]:
        """Metadata: what was asked for, what of it had to be sampled, and how fast."""
        rate = self._tokens_sampled / self._seconds if self._seconds else 0.0
        return {**self._totals, "tokens_per_second": round(rate, 1), "sampling_seconds": round(self._seconds, 2)}

    def _report(self, progress: Progress) -> None:
        iteration = self._context.partition_key if self._context.has_partition_key else None
        message = StageProgress(
            self._stage,
            iteration,
            progress.done,
            progress.total,
            progress.tokens_per_second,
            "tokens",
            progress.seconds_left,
        )
        write_progress(self._family.layout.progress, message)
        if time.monotonic() - self._last_logged >= LOG_EVERY_SECONDS or progress.done == progress.total:
            self._last_logged = time.monotonic()
            self._context.log.info(message.sentence())


@contextmanager
def sampler(context: dg.AssetExecutionContext, family: Family, stage: str, model: ModelReference) -> Iterator[Sampler]:
    """Loads the model for sampling, and gives its memory back at the end."""
    with open_engine(family.recipe.engine, model) as engine:
        yield Sampler(context, family, stage, engine)


def judge_tasks(recipe: Recipe, requests: pl.DataFrame, n: int) -> list[GenerationTask]:
    """What to ask the judge. Seeds belong to the pair as shown, so all judges are compared on the same random streams.

    Args:
        recipe: for the template and the seed.
        requests: request_id, instruction, response_a, response_b.
        n: judgments of each.
    """
    return [
        GenerationTask(
            request_id,
            judge_messages(recipe.templates, instruction, response_a, response_b),
            n=n,
            seed=derive_seed(recipe.seed, "judgment", request_id),
        )
        for request_id, instruction, response_a, response_b in requests.select(
            "request_id", "instruction", "response_a", "response_b"
        ).iter_rows()
    ]
