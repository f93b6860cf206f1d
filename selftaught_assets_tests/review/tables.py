"""Small tables of one iteration, made by hand, for tests of reviews."""

from pathlib import Path

import polars as pl

from selftaught_assets.method.identity import row_id
from selftaught_assets.storage.layout import Layout

ITERATION = "iteration_01"
TEXT = {"drop_reason": pl.String}


def layout_with_pairs(folder: Path, *, pairs: int = 6, **hostile: str) -> Layout:
    """The tables of `pairs` pairs: "chosen 3" answers "instruction 3"; the last pair is dropped.

    Judgments: one for each kept pair with the chosen response in position A, right for even numbers.

    Args:
        folder: of the data.
        pairs: how many.
        hostile: texts to put instead of columns of every pair.
    """
    numbers = range(pairs)
    dropped = [None] * (pairs - 1) + ["responses_equal"]
    table = pl.DataFrame(
        {
            "pair_id": [pair_id(number) for number in numbers],
            "instruction_id": [row_id("instruction", number) for number in numbers],
            "instruction": [f"instruction {number}" for number in numbers],
            "chosen": [f"chosen {number}" for number in numbers],
            "rejected": [f"rejected {number}" for number in numbers],
            "drop_reason": dropped,
        },
        schema_overrides=TEXT,
    ).with_columns(**{name: pl.lit(text) for name, text in hostile.items()})
    kept = table.filter(pl.col("drop_reason").is_null())
    judgments = kept.select(
        pl.Series("judgment_id", [row_id("judgment", number) for number in range(kept.height)]),
        "pair_id",
        pl.lit("A").alias("chosen_position"),
        pl.Series("judgment", [f"judgment {number}" for number in range(kept.height)]),
        pl.Series("is_correct", [number % 2 == 0 for number in range(kept.height)]),
        pl.lit(None, dtype=pl.String).alias("drop_reason"),
    )
    layout = Layout(folder, "small")
    instructions = table.select("instruction_id", "instruction", "drop_reason")
    for name, frame in (("pairs", table), ("judgments", judgments), ("instructions", instructions)):
        layout.table(name, ITERATION).parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(layout.table(name, ITERATION))
    return layout


def pair_id(number: int) -> str:
    return row_id("pair", number)
