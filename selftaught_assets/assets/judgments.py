"""The asset `judgments`: what the current judge thinks of each pair, many times over (paper section 3)."""

from functools import partial

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, table_output
from selftaught_assets.assets.sampling import judge_tasks, sampler
from selftaught_assets.method.judging import judging_requests, judgment_quality, judgments_table
from selftaught_assets.method.sequential import SETTLES, sample_until_right
from selftaught_assets.method.single import rating_quality, rating_requests, ratings_table
from selftaught_assets.storage.models import read_pointer


def build_judgments(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"polars", "parquet", "huggingface"},
        tables=("pairs",),
        samples=True,
    )
    def judgments(context: dg.AssetExecutionContext, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """Chain-of-thought judgments of every valid pair by the current judge, right and wrong alike.

        Up to `n` of each: a pair that has a right one is not sampled any more, unless the recipe says otherwise.
        """
        settings = recipe.judgments
        if settings.form == "single":
            requests, table, quality = rating_requests(pairs), ratings_table, rating_quality
        else:
            requests = judging_requests(pairs, positions=settings.positions, seed=recipe.seed)
            table = partial(judgments_table, form=recipe.verdicts.format, ties=recipe.verdicts.ties)
            quality = partial(judgment_quality, firsts_only=recipe.stops_when_right)
        model = read_pointer(family.layout.judge(context.partition_key), root=family.layout.root)
        with sampler(context, family, "judgments", model) as judge:

            def ask(some: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
                answers = judge.sample(judge_tasks(recipe, some, end, first), settings.sampling)
                return table(some, answers, judge=model.digest)

            if recipe.stops_when_right:
                frame = sample_until_right(requests, ask, n=settings.n, capacity=judge.capacity)
            else:
                frame = ask(requests, 0, settings.n)
        solved = frame.filter(SETTLES).n_unique(["pair_id", "chosen_position"])
        costs = judge.costs(kept=solved)
        return table_output(
            frame,
            rows_in=frame.height,
            judge_digest=model.digest,
            completions_surplus=costs["completions"] - frame.height,
            **quality(frame),
            **costs,
        )

    return judgments
