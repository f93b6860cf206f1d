"""The assets `evaluation` and `seed_evaluation`: how good a judge is on the benchmarks (paper section 4)."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.assets.handover import reference_newest_checkpoint
from selftaught_assets.assets.sampling import judge_tasks, sampler
from selftaught_assets.engines.protocol import SamplingParameters
from selftaught_assets.errors import UserError
from selftaught_assets.method.evaluation import verdict_table
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.scores import score, single_sample_accuracy
from selftaught_assets.storage.models import ModelReference, reference_model

GROUP = "evaluation"
KINDS = {"polars", "parquet", "huggingface"}
SECTIONS = ("evaluation", "prompts")


def build_evaluation(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds=KINDS, sections=SECTIONS, tables=("benchmarks",), deps=("checkpoint",))
    def evaluation(context: dg.AssetExecutionContext, benchmarks: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """The verdicts of this iteration's new judge on every benchmark pair, in both orders: greedy, and by vote."""
        model = reference_newest_checkpoint(context.instance, family, context.partition_key)
        return _evaluate(context, family, model, benchmarks)

    return evaluation


def build_seed_evaluation(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds=KINDS, sections=SECTIONS, tables=("benchmarks",), deps=("seed_model",))
    def seed_evaluation(context: dg.AssetExecutionContext, benchmarks: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """The verdicts of the seed model on every benchmark pair, in both orders: where every iteration starts from."""
        return _evaluate(context, family, reference_model(family.recipe.seed_model), benchmarks)

    return seed_evaluation


def _evaluate(
    context: dg.AssetExecutionContext, family: Family, model: ModelReference, benchmarks: pl.DataFrame
) -> dg.Output[pl.DataFrame]:
    settings, sampling = family.recipe.evaluation, family.recipe.evaluation.sampling
    greedy = SamplingParameters(temperature=0, top_p=1, max_tokens=sampling.max_tokens, stop=sampling.stop)
    requests = benchmark_requests(kept(benchmarks))
    for benchmark in family.recipe.benchmarks:
        if benchmark.name not in requests["benchmark"]:
            raise UserError(f"No pair of {benchmark.path} can be scored; see `drop_reason` in the table `benchmarks`.")
    with sampler(context, family, "evaluation", model) as judge:
        answers = judge.sample(judge_tasks(family.recipe, requests, n=1), greedy)
        votes = judge.sample(judge_tasks(family.recipe, requests, n=settings.votes), sampling)
        costs = judge.costs()
    frame = pl.concat(
        [
            verdict_table(requests, answers, decoding="greedy", judge=model.digest),
            verdict_table(requests, votes, decoding="vote", judge=model.digest),
        ]
    )
    first, *others = [frame.filter(pl.col("benchmark") == benchmark.name) for benchmark in family.recipe.benchmarks]
    accuracies = _accuracies(first, prefix="")
    for other in others:
        accuracies |= _accuracies(other, prefix=f"{other['benchmark'][0]}_")
    return table_output(frame, rows_in=2 * requests.height, judge_digest=model.digest, **accuracies, **costs)


def _accuracies(verdicts: pl.DataFrame, prefix: str) -> dict[str, int | float]:
    greedy, vote = (verdicts.filter(pl.col("decoding") == decoding) for decoding in ("greedy", "vote"))
    scores = score(greedy)
    numbers = {
        "accuracy": scores.accuracy,
        "accuracy_low": scores.interval.low,
        "accuracy_high": scores.interval.high,
        "position_consistent": scores.position_consistent,
        "position_bias": (scores.winner_first - scores.loser_first) / 2,
        "accuracy_winner_first": scores.winner_first,
        "accuracy_loser_first": scores.loser_first,
        "invalid_share": scores.invalid,
        "vote_accuracy": score(vote).accuracy,
        "single_sample_accuracy": single_sample_accuracy(vote),
        "verdicts": scores.n,
    }
    return {prefix + name: number for name, number in numbers.items()}
