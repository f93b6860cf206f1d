"""Which instructions of the pool an iteration works on.

Belongs here: cleaning the pool, and the seeded selection from it. Not here: reading files (storage) and sorting
instructions into categories (the pool may bring a category of its own).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import polars as pl

from selftaught_assets.method.draws import draw
from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.texts import is_empty, normalized_instruction

POOL_DROP_REASONS = ("empty", "duplicate")
SELECTION_DROP_REASONS = ("too_long", "other_category", "not_selected")

_POOL_SCHEMA = {"line": pl.Int64, "instruction": pl.String, "source": pl.String, "category": pl.String}


def pool_rows(records: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """The table of the instruction pool (paper section 3, "Initialization").

    An instruction that repeats an earlier line, but for white space and case, is dropped: the same instruction twice
    would count twice in training and could stand on both sides of the split.

    Args:
        records: one mapping for each row with `line` (its number in the file), `instruction`, `source` (where it is
            from, may be None) and `category` (may be None).

    Returns:
        instruction_id, line, instruction, source, category, drop_reason (empty, duplicate; null = kept), in the order
        of the records.
    """
    pool = pl.DataFrame(list(records), schema=_POOL_SCHEMA)
    first_line = pl.col("line").min().over(normalized_instruction("instruction"))
    reason = (
        pl.when(is_empty("instruction"))
        .then(pl.lit("empty"))
        .when(pl.col("line") > first_line)
        .then(pl.lit("duplicate"))
    )
    ids = pl.Series("instruction_id", row_ids("instruction", pool["instruction"]), dtype=pl.String)
    return pool.select(ids, *_POOL_SCHEMA, reason.alias("drop_reason"))


def select_instructions(
    pool: pl.DataFrame,
    *,
    count: int,
    schedule: Literal["fixed", "fresh"],
    iteration: int,
    seed: int,
    max_characters: int,
    categories: Sequence[str] | None,
) -> pl.DataFrame:
    """Selects `count` instructions for an iteration (paper section 3, "Instruction Selection").

    The usable instructions are put into one seeded order that all iterations share. `fixed` takes the first `count`
    in every iteration, as the paper does; `fresh` takes the next `count`, so that no two iterations share one. Where
    fewer are left, fewer are taken.

    Args:
        pool: as `pool_rows` makes it; rows that are dropped already keep their reason.
        count: how many to select.
        schedule: `fixed` or `fresh`.
        iteration: 1, 2, …
        seed: the same in every iteration of a recipe.
        max_characters: longer instructions are left out.
        categories: only these values of `category`; None takes all, and rows without a category belong to none.

    Returns:
        Every row of `pool`, in its order, with `drop_reason` null where it is selected.

    Raises:
        ValueError: no instruction is left for this iteration.
    """
    unwanted = pl.lit(False) if categories is None else ~pl.col("category").is_in(list(categories)).fill_null(False)
    screened = pool.with_columns(
        pl.coalesce(
            "drop_reason",
            pl.when(pl.col("instruction").str.len_chars() > max_characters).then(pl.lit("too_long")),
            pl.when(unwanted).then(pl.lit("other_category")),
        )
    )
    usable = pl.col("drop_reason").is_null()
    place = pl.when(usable).then(draw("instruction_id", seed, "selection")).rank("ordinal") - 1
    first = 0 if schedule == "fixed" else (iteration - 1) * count
    selected = place.is_between(first, first + count, closed="left").fill_null(False)
    frame = screened.with_columns(
        pl.when(usable & ~selected).then(pl.lit("not_selected")).otherwise("drop_reason").alias("drop_reason")
    )
    if frame["drop_reason"].null_count() == 0:
        left = screened["drop_reason"].null_count()
        raise ValueError(
            f"Iteration {iteration} has no instruction left: {left} of the pool's {pool.height} instructions are "
            f"usable, and earlier iterations take {min(first, left)}."
        )
    return frame
