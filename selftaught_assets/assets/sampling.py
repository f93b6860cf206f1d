"""Sampling inside an asset: opens the engine and the journal, tells how far it is, and adds up what it cost."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family
from selftaught_assets.engines.factory import OpenEngine, open_when_needed
from selftaught_assets.engines.journalled import GenerationTask, Progress, Usage, generate
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.errors import UserError
from selftaught_assets.method.costs import cost, per_kept
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.prompts import Messages, judge_messages, score_messages
from selftaught_assets.method.scoring.accuracy import Decoding, verdict_table
from selftaught_assets.method.single import benchmark_rating_requests, rating_verdicts
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.files import StageProgress, write_progress
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference

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
        self._sampled = self._used = Usage()
        self._requests = 0

    @property
    def model_digest(self) -> str:
        return self._engine.model_digest

    def sample(self, tasks: Sequence[GenerationTask], sampling: SamplingParameters) -> pl.DataFrame:
        """The completions of the tasks, sampled now or remembered, in the order of the tasks."""
        date = self._family.recipe.template_date
        generated = generate(self._engine, self._journal, tasks, sampling, self._report, date)
        self._sampled = self._sampled.plus(generated.sampled)
        self._used = self._used.plus(generated.used)
        self._requests += sum(task.first == 0 for task in tasks)
        return generated.frame

    @property
    def capacity(self) -> int:
        return self._engine.capacity

    def costs(self, kept: int) -> dict[str, int | float | str]:
        """Metadata: what was asked for, what of it had to be sampled, how fast, and what it costs.

        Prices by tokens count every completion, also those of earlier attempts; prices by the hour only the time that
        was spent now.

        Args:
            kept: examples, pairs or items that came of it.
        """
        sampled, used = self._sampled, self._used
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
            "samples_per_kept": per_kept(used.completions, kept),
        }
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


def judge_tasks(recipe: Recipe, requests: pl.DataFrame, n: int, first: int = 0) -> list[GenerationTask]:
    """What to ask the judge. Seeds belong to the pair as shown, so all judges are compared on the same random streams.

    Args:
        recipe: for the form, the template, whether it offers a tie, and the seed.
        requests: request_id, instruction, reference (an answer known to be good; may be null), and response_a and
            response_b, or response in the single form.
        n: judgments of each, those before `first` included.
        first: index of the first judgment that is wanted.
    """
    return [
        GenerationTask(
            request["request_id"],
            _question(recipe, request),
            n=n,
            seed=derive_seed(recipe.seed, "judgment", request["request_id"]),
            first=first,
        )
        for request in requests.iter_rows(named=True)
    ]


def evaluation_requests(recipe: Recipe, items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: both orders of each, or both responses of each in the single form."""
    return benchmark_rating_requests(items) if recipe.judgments.form == "single" else benchmark_requests(items)


def greedy_verdicts(recipe: Recipe, judge: Sampler, requests: pl.DataFrame) -> pl.DataFrame:
    """The greedy verdicts on `evaluation_requests`: a table of `evaluation.verdict_table`, or of `rating_verdicts`."""
    votes = recipe.evaluation.sampling
    greedy = SamplingParameters(temperature=0, top_p=1, max_tokens=votes.max_tokens, stop=votes.stop)
    return _verdicts(recipe, judge, requests, "greedy", n=1, sampling=greedy)


def voted_verdicts(recipe: Recipe, judge: Sampler, requests: pl.DataFrame) -> pl.DataFrame:
    """The same by the recipe's number of votes: their majority, or the means of their ratings."""
    return _verdicts(recipe, judge, requests, "vote", n=recipe.evaluation.votes, sampling=recipe.evaluation.sampling)


def _verdicts(
    recipe: Recipe, judge: Sampler, requests: pl.DataFrame, decoding: Decoding, *, n: int, sampling: SamplingParameters
) -> pl.DataFrame:
    answers = judge.sample(judge_tasks(recipe, requests, n=n), sampling)
    if (failed := answers.filter(pl.col("finish_reason") == "failed")).height:
        raise UserError(
            f"{failed.height} of {answers.height} verdicts could not be had ({failed['error'][0]}): a measurement with "
            "holes means nothing, so materialize it again; only the missing ones are asked for."
        )
    if recipe.judgments.form == "single":
        return rating_verdicts(requests, answers, decoding=decoding, judge=judge.model_digest)
    return verdict_table(
        requests,
        answers,
        decoding=decoding,
        judge=judge.model_digest,
        form=recipe.verdicts.format,
        ties=recipe.verdicts.ties,
    )


def _question(recipe: Recipe, request: dict[str, str | None]) -> Messages:
    instruction, reference = request["instruction"], request["reference"]
    if recipe.judgments.form == "single":
        return score_messages(recipe.templates, instruction, request["response"], reference)
    responses = request["response_a"], request["response_b"]
    return judge_messages(recipe.templates, instruction, *responses, reference, ties=recipe.verdicts.ties)
