"""Sampling inside an asset: a model and the stage's journal, progress for people, and the account of what it cost.

How a judge is asked is not decided here, but in engines/asking.py.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family
from selftaught_assets.engines.asking import measured_verdicts
from selftaught_assets.engines.factory import OpenEngine, open_when_needed
from selftaught_assets.engines.journalled import Progress, Tasks, Usage, generate
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.method.costs import cost, per_kept
from selftaught_assets.method.scoring.accuracy import Decoding
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.files import StageProgress, write_progress
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.training.launch import require_trainable

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
        self._sampled = self._used = self._eliciting = Usage()
        self._requests = 0

    @property
    def model_digest(self) -> str:
        return self._engine.model_digest

    def sample(self, tasks: Tasks, sampling: SamplingParameters) -> pl.DataFrame:
        """The completions of the tasks, sampled now or remembered, in the order of the tasks."""
        date = self._family.recipe.template_date
        generated = generate(self._engine, self._journal, tasks, sampling, self._report, date)
        self._sampled = self._sampled.plus(generated.sampled)
        self._used = self._used.plus(generated.used)
        if tasks.elicits:
            self._eliciting = self._eliciting.plus(generated.used)
        else:
            self._requests += int((generated.frame["sample_index"] == 0).sum())
        return generated.frame

    def verdicts(self, requests: pl.DataFrame, decoding: Decoding) -> pl.DataFrame:
        """The verdicts of the model on `asking.measurement_requests`.

        Raises:
            UserError: a judgment failed for good.
        """
        return measured_verdicts(self._family.recipe, requests, self.sample, decoding=decoding, judge=self.model_digest)

    @property
    def capacity(self) -> int:
        return self._engine.capacity

    def costs(self, kept: int) -> dict[str, int | float | str]:
        """Metadata: what was asked for, what of it had to be sampled, how fast, and what it costs.

        Prices by tokens count every completion, also those of earlier attempts; prices by the hour only the time that
        was spent now. Completions that elicit a verdict count among all, and by themselves where there are any.

        Args:
            kept: examples, pairs or items that came of it.
        """
        sampled, used, eliciting = self._sampled, self._used, self._eliciting
        judged = used.completions - eliciting.completions
        rate = sampled.completion_tokens / sampled.seconds if sampled.seconds else 0.0
        numbers = {
            "requests": self._requests,
            "completions": used.completions,
            "completions_sampled": sampled.completions,
            "completions_failed": used.failed,
            "prompt_tokens": used.prompt_tokens,
            "shared_prompt_tokens": used.shared_prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "tokens_per_second": round(rate, 1),
            "sampling_seconds": round(sampled.seconds, 2),
            "samples_per_kept": per_kept(judged, kept),
        }
        if eliciting.completions:
            tokens = {"prompt": eliciting.prompt_tokens, "completion": eliciting.completion_tokens}
            numbers["completions_eliciting"] = eliciting.completions
            numbers |= {f"{kind}_tokens_eliciting": count for kind, count in tokens.items()}
        if price := self._family.recipe.price:
            amount = cost(
                price.prices,
                seconds=sampled.seconds,
                prompt_tokens=used.prompt_tokens,
                shared_prompt_tokens=used.shared_prompt_tokens,
                completion_tokens=used.completion_tokens,
            )
            numbers |= {"cost": amount, "cost_per_kept": per_kept(amount, kept), "currency": price.currency}
        return {name: number for name, number in numbers.items() if number is not None}

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
def sampler(
    context: dg.AssetExecutionContext,
    family: Family,
    stage: str,
    model: ModelReference,
    open_model: OpenEngine | None = None,
) -> Iterator[Sampler]:
    """Lends a model for sampling, loaded once something has to be sampled, and gives its memory back at the end.

    Args:
        context: of the step.
        family: of the recipe.
        stage: whose journal it is.
        model: that samples.
        open_model: opens its engine, where several models sample in one step; the recipe's own by default.
    """
    opened = open_model(model) if open_model else open_when_needed(family.recipe.engine, model)
    with opened as engine:
        yield Sampler(context, family, stage, engine)


def trainable_seed_model(context: dg.AssetExecutionContext, family: Family) -> ModelReference:
    """The seed model, which the recipe's training was tried on: before the first text is sampled.

    Raises:
        UserError: it is no whole model, or cannot be trained.
    """
    recipe = family.recipe
    model = reference_model(recipe.seed_model)
    if recipe.try_training:
        require_trainable(
            model,
            recipe.training,
            seed=recipe.seed,
            date=recipe.template_date,
            passed=family.layout.trials,
            log=context.log,
        )
    return model
