"""Small tables to test the method on, and strategies that draw them."""

from collections.abc import Sequence
from typing import NamedTuple

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
        st.sampled_from(["A", "B", "TIE", None]),
        st.sampled_from(["stop", "stop", "length"]),
    ),
    max_size=40,
).map(judgments)

seeds = st.integers(0, 2**63 - 1)


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("drop_reason").is_null())


class Judged(NamedTuple):
    """One benchmark pair with the judge's verdicts in both orders, each as the judge sees the responses."""

    label: str
    """As the benchmark gives the responses: A, B or TIE."""
    as_given: str | None
    swapped: str | None
    subset: str = "s"
    instruction: str | None = None
    """The pair's own, if None."""
    group: str | None = None
    """The pair's own, if None."""
    variant: str | None = None
    votes: tuple[tuple[int, int, int], tuple[int, int, int]] = ((0, 0, 0), (0, 0, 0))
    """For A, B and TIE, in both orders."""


VERDICT_SCHEMA = {
    **dict.fromkeys(
        ("benchmark", "subset", "item_id", "group_id", "instruction_id", "variant", "order", "label", "verdict"),
        pl.String,
    ),
    **dict.fromkeys(("votes_a", "votes_b", "votes_tie", "votes_invalid"), pl.Int64),
}


def verdicts(pairs: Sequence[Judged | tuple], benchmark: str = "b") -> pl.DataFrame:
    """A table of verdicts, two rows for each pair."""
    rows = []
    for number, pair in enumerate(Judged(*pair) for pair in pairs):
        own = f"{number:04}"
        names = (benchmark, pair.subset, own, pair.group or own, pair.instruction or own, pair.variant)
        rows.append((*names, "AB", pair.label, pair.as_given, *pair.votes[0], 0))
        rows.append((*names, "BA", turned(pair.label), pair.swapped, *pair.votes[1], 0))
    return pl.DataFrame(rows, schema=VERDICT_SCHEMA, orient="row")


def turned(verdict: str | None) -> str | None:
    """The same opinion after the two responses changed places."""
    return {"A": "B", "B": "A"}.get(verdict, verdict)


def right(label: str = "A", **fields: str) -> Judged:
    """A pair that is judged right in both orders."""
    return Judged(label, label, turned(label), **fields)


def wrong(label: str = "A", **fields: str) -> Judged:
    """A pair that is judged wrong in both orders."""
    return Judged(label, turned(label), label, **fields)
