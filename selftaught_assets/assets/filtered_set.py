"""The asset `filtered_set`: the judgments worth training on (paper section 3, rejection sampling)."""

from functools import partial

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.method import examples, single_examples


def build_filtered_set(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"polars", "parquet"},
        tables=("judgments", "pairs"),
    )
    def filtered_set(judgments: pl.DataFrame, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """One correct judgment of each pair, as many that say A as say B; every other one with its drop reason.

        In the single form two: one of the winner, and one of the loser that gives it a lower rating.
        """
        single = recipe.judgments.form == "single"
        choose = single_examples.filtered_set if single else partial(examples.filtered_set, ties=recipe.verdicts.ties)
        frame = choose(
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
            training_set_digest=examples.training_set_digest(frame),
            kept_share=chosen.height / frame.height if frame.height else 0.0,
            validation_examples=chosen.filter(pl.col("split") == "validation").height,
            **(_ratings(frame) if single else {"examples_a_share": float((chosen["label"] == "A").mean() or 0.0)}),
        )

    return filtered_set


def _ratings(frame: pl.DataFrame) -> dict[str, float | dg.MetadataValue]:
    """How the kept ratings are distributed, and how much of the label they tell."""
    distribution = single_examples.rating_distribution(frame)
    columns = [dg.TableColumn(name, "int") for name in distribution.columns]
    records = [dg.TableRecord(row) for row in distribution.iter_rows(named=True)]
    return {
        "label_told_by_rating": single_examples.told_by_rating(distribution),
        "rating_distribution": dg.MetadataValue.table(records, dg.TableSchema(columns)),
    }
