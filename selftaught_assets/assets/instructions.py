"""The asset `instructions`: which instructions of the pool an iteration works on (paper section 3)."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, table_output
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_number
from selftaught_assets.method.selection import select_instructions


def build_instructions(family: Family) -> dg.AssetsDefinition:
    @family.asset(group="data", kinds={"polars", "parquet"}, tables=("instruction_pool",))
    def instructions(context: dg.AssetExecutionContext, instruction_pool: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """The instructions of this iteration, drawn from the pool by seed; the others stay as not selected."""
        settings = family.recipe.instructions
        try:
            frame = select_instructions(
                instruction_pool,
                count=settings.count,
                schedule=settings.schedule,
                iteration=iteration_number(context.partition_key),
                seed=family.recipe.seed,
                max_characters=settings.max_characters,
                categories=settings.categories,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        return table_output(frame, rows_in=instruction_pool.height, count=settings.count)

    return instructions
