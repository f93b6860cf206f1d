"""Which instructions of the pool an iteration works on.

Belongs here: cleaning the pool, and the seeded selection from it. Not here: reading files (storage) and sorting
instructions into categories (the pool may bring a category of its own).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import polars as pl

from selftaught_assets.method.draws import draw
from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.texts import is_empty, normalized_instruction

POOL_DROP_REASONS = ("empty", "duplicate")
SELECTION_DROP_REASONS = ("too_long", "other_category", "not_selected")

_CATEGORIES_LISTED = 10

_POOL_SCHEMA = {
    "line": pl.Int64,
    "pool_id": pl.String,
    "instruction": pl.String,
    "source": pl.String,
    "category": pl.String,
}


def pool_rows(records: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """The table of the instruction pool (paper section 3, "Initialization").

    An instruction that repeats an earlier line, but for white space and case, is dropped: the same instruction twice
    would count twice in training and could stand on both sides of the split.

    Args:
        records: one mapping for each row with `line` (its number in the file), `instruction`, `pool_id` (the user's own
            id), `source` (where it is from) and `category`; these three may be None or absent.

    Returns:
        instruction_id, line, pool_id, instruction, source, category, drop_reason (empty, duplicate; null = kept), in
        the order of the records.
    """
    pool = pl.DataFrame(list(records), schema=_POOL_SCHEMA)
    reason = pl.when(is_empty("instruction")).then(pl.lit("empty")).when(_is_repeated()).then(pl.lit("duplicate"))
    ids = pl.Series("instruction_id", row_ids("instruction", pool["instruction"]), dtype=pl.String)
    return pool.select(ids, *_POOL_SCHEMA, reason.alias("drop_reason"))


def with_input(instruction: str, given: str | None) -> str:
    """An instruction with the text that it is about, as Alpaca's data has them apart: {"instruction", "input"}."""
    return f"{instruction}\n\nInput:\n{given}" if given and given.strip() else instruction


def fields_that_differ(records: Iterable[Mapping[str, object]], instruction_field: str) -> dict[str, int]:
    """In which other fields rows differ that have one instruction.

    Where many do, the instruction is not the whole of what is asked: a text that belongs to it stands in that field.

    Args:
        records: as the user's file has them.
        instruction_field: which field holds the instruction.

    Returns:
        By the name of a field with text: in how many rows it differs from the first row with the same instruction.
    """
    firsts: dict[object, Mapping[str, object]] = {}
    differ: Counter[str] = Counter()
    for record in records:
        first = firsts.setdefault(record[instruction_field], record)
        if first is not record:
            differ.update(name for name, value in record.items() if isinstance(value, str) and value != first.get(name))
    return dict(differ.most_common())


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

    Of rows with one text the first that is wanted is usable: one that the pool calls a duplicate may be that, if the
    one before it has another category.

    Args:
        pool: as `pool_rows` makes it.
        count: how many to select.
        schedule: `fixed` or `fresh`.
        iteration: 1, 2, …
        seed: the same in every iteration of a recipe.
        max_characters: longer instructions are left out.
        categories: only these values of `category`; None takes all, and rows without a category belong to none.

    Returns:
        Every row of `pool`, in its order, with `drop_reason` null where it is selected.

    Raises:
        ValueError: no instruction is left for this iteration, or a category is that of no row.
    """
    there = set(pool["category"].drop_nulls())
    if unknown := [name for name in categories or () if name not in there]:
        listed = ", ".join(map(repr, sorted(there)[:_CATEGORIES_LISTED])) or "none"
        more = ", …" if len(there) > _CATEGORIES_LISTED else ""
        raise ValueError(f"No row of the pool has the category {unknown[0]!r}; its categories are {listed}{more}.")
    unwanted = pl.lit(False) if categories is None else ~pl.col("category").is_in(list(categories)).fill_null(False)
    wanted = pool.with_columns(
        pl.when(pl.col("drop_reason") == "empty")
        .then("drop_reason")
        .when(pl.col("instruction").str.len_chars() > max_characters)
        .then(pl.lit("too_long"))
        .when(unwanted)
        .then(pl.lit("other_category"))
        .alias("drop_reason")
    )
    repeated = pl.when(_is_repeated(pl.col("drop_reason").is_null())).then(pl.lit("duplicate"))
    screened = wanted.with_columns(pl.coalesce("drop_reason", repeated))
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


def _is_repeated(among: pl.Expr | None = None) -> pl.Expr:
    """Whether an earlier line has the same instruction, of those among which it is looked for."""
    lines = pl.col("line") if among is None else pl.col("line").filter(among)
    return pl.col("line") > lines.min().over(normalized_instruction("instruction"))
