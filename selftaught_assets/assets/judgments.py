"""The asset `judgments`: what the current judge thinks of each pair, many times over (paper section 3)."""

from functools import partial

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, table_output
from selftaught_assets.assets.sampling import judge_tasks, sampler
from selftaught_assets.method.judging import judging_requests, judgments_table
from selftaught_assets.method.single import rating_quality, rating_requests, ratings_table
from selftaught_assets.storage.models import read_pointer


def build_judgments(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"polars", "parquet", "huggingface"},
        sections=("judgments", "prompts", "verdicts"),
        tables=("pairs",),
        deps=("judge",),
    )
    def judgments(context: dg.AssetExecutionContext, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """Chain-of-thought judgments of every valid pair by the current judge, `n` of each, right and wrong alike."""
        settings = recipe.judgments
        if settings.form == "single":
            requests, table, quality = rating_requests(pairs), ratings_table, rating_quality
        else:
            requests = judging_requests(pairs, positions=settings.positions, seed=recipe.seed)
            table = partial(judgments_table, form=recipe.verdicts.format, ties=recipe.verdicts.ties)
            quality = _quality
        model = read_pointer(family.layout.judge(context.partition_key), root=family.layout.root)
        with sampler(context, family, "judgments", model) as judge:
            tasks = judge_tasks(recipe, requests, settings.n)
            frame = table(requests, judge.sample(tasks, settings.sampling), judge=model.digest)
            costs = judge.costs()
        rows_in = requests.height * settings.n
        return table_output(frame, rows_in=rows_in, judge_digest=model.digest, **quality(frame), **costs)

    return judgments


def _quality(judgments: pl.DataFrame) -> dict[str, float]:
    """Shares of all judgments, and of the pairs for which at least one judgment is right.

    `position_bias` is by how much the verdict A is more frequent, among verdicts for a side, than it ought to be.
    """
    says_a, is_a = ((pl.col(name) == "A").cast(pl.Float64) for name in ("verdict", "chosen_position"))
    says_a = pl.when(pl.col("verdict") != "TIE").then(says_a)
    shares = judgments.select(
        correct_share=pl.col("is_correct").mean(),
        invalid_share=pl.col("verdict").is_null().mean(),
        label_a_share=says_a.mean(),
        position_bias=(says_a - is_a).mean(),
        truncated_share=(pl.col("finish_reason") == "length").mean(),
    ).row(0, named=True)
    solved = judgments.group_by("pair_id", "chosen_position").agg(pl.col("is_correct").any())["is_correct"].mean()
    return {name: value or 0.0 for name, value in {**shares, "solved_share": solved}.items()}
