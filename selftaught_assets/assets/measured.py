"""The verdicts that were measured before, as tables on disk.

Belongs here: finding the verdicts of a judge of a recipe. Not here: what they are worth (method/results.py).
"""

import polars as pl

from selftaught_assets.assets.family import Family
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.held_out import without_held_out
from selftaught_assets.storage.tables import read_table

SEED = "seed"
"""The name of the seed among the judges; the others are named after their iterations."""


def read_verdicts(family: Family, judge: str) -> pl.DataFrame | None:
    """The verdicts of `seed` or of an iteration's judge on the benchmarks; None if it is not evaluated."""
    layout = family.layout
    table = layout.table("seed_evaluation") if judge == SEED else layout.table("evaluation", judge)
    verdicts = read_table(table)
    if verdicts is not None and "instruction_id" not in verdicts.columns:
        raise UserError(
            f"The table {table} was written by an earlier version, without the instructions of its pairs: "
            "materialize `benchmarks` and it again (remembered completions are not sampled anew)."
        )
    return None if verdicts is None else without_held_out(verdicts)


def earlier_verdicts(family: Family, iteration: str | None) -> dict[str, pl.DataFrame | None]:
    """The verdicts that those of an iteration are tested against: of the seed, and of the judge before.

    They are no upstream of `evaluation`: its table is the same without them, only the p-values in its metadata are
    missing, and `progress` has them in any case.

    Args:
        family: of the recipe.
        iteration: None for the seed, which is compared with nobody.
    """
    if iteration is None:
        return {"seed": None, "previous": None}
    names = [SEED, *(iteration_key(number) for number in range(1, family.recipe.iterations + 1))]
    before = names[names.index(iteration) - 1]
    return {"seed": read_verdicts(family, SEED), "previous": read_verdicts(family, before)}


def on_benchmark(verdicts: pl.DataFrame | None, benchmark: str) -> pl.DataFrame | None:
    """The verdicts on one benchmark."""
    return None if verdicts is None else verdicts.filter(pl.col("benchmark") == benchmark)
