"""Small tables to test the method on, and strategies that draw them."""

import polars as pl
from hypothesis import strategies as st

from selftaught_assets.method.identity import row_id

JUDGMENT_SCHEMA = {
    "judgment_id": pl.String,
    "pair_id": pl.String,
    "instruction_id": pl.String,
    "sample_index": pl.Int64,
    "chosen_position": pl.String,
    "verdict": pl.String,
    "is_correct": pl.Boolean,
    "finish_reason": pl.String,
}


def judgments(rows: list[tuple[int, str, str | None, str]]) -> pl.DataFrame:
    """A table of judgments from (pair number, chosen position, verdict, finish reason)."""
    values = [
        {
            "judgment_id": row_id("judgment", number),
            "pair_id": row_id("pair", pair),
            "instruction_id": row_id("instruction", pair // 2),
            "sample_index": number,
            "chosen_position": position,
            "verdict": verdict,
            "is_correct": verdict == position,
            "finish_reason": finish,
        }
        for number, (pair, position, verdict, finish) in enumerate(rows)
    ]
    return pl.DataFrame(values, schema=JUDGMENT_SCHEMA)


judgment_tables = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from("AB"),
        st.sampled_from(["A", "B", None]),
        st.sampled_from(["stop", "stop", "length"]),
    ),
    max_size=40,
).map(judgments)

seeds = st.integers(0, 2**63 - 1)


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("drop_reason").is_null())
