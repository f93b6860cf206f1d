"""The asset `filtered_set`: the judgments worth training on (paper section 3, rejection sampling)."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.method import examples


def build_filtered_set(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging", kinds={"polars", "parquet"}, sections=("filter", "prompts"), tables=("judgments", "pairs")
    )
    def filtered_set(judgments: pl.DataFrame, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """One correct judgment of each pair, as many that say A as say B; every other one with its drop reason."""
        frame = examples.filtered_set(
            judgments,
            pairs,
            recipe.templates,
            keep=recipe.filter.keep,
            validation_share=recipe.filter.validation_share,
            seed=recipe.seed,
        )
        chosen = kept(frame)
        return table_output(
            frame,
            rows_in=kept(judgments).height,
            kept_share=chosen.height / frame.height if frame.height else 0.0,
            examples_a_share=float((chosen["label"] == "A").mean() or 0.0),
            validation_examples=chosen.filter(pl.col("split") == "validation").height,
        )

    return filtered_set
