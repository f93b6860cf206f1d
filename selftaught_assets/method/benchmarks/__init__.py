"""Labelled pairs on which judges are measured.

Belongs here: the table of a benchmark, which of its rows can be scored, and why the others cannot. The formats are in
the modules of this package. Not here: reading files (storage), asking the judge (`judging`) and scoring (`scores`).
"""

from collections.abc import Iterable
from typing import Literal

import polars as pl

from selftaught_assets.method.benchmarks.formats import FORMATS, FormatName
from selftaught_assets.method.benchmarks.items import Item, Record, is_missing
from selftaught_assets.method.identity import is_empty, normalized_instruction, row_ids

DROP_REASONS = (
    "other_split",
    "not_text",
    "empty_text",
    "no_label",
    "equal_responses",
    "duplicate",
    "swapped_duplicate",
    "tie",
    "incomplete_group",
)
"""Why a row cannot be scored. Where several apply, the first in this order is reported.

`other_split`: not of the split that is the benchmark. `not_text`: an instruction or response is missing, or a boolean,
a number, a list. `no_label`: none that the format knows. `equal_responses`: one is said to be better than its equal.
`duplicate`: instruction and responses of an earlier usable row. `swapped_duplicate`: with the responses the other way
round: the same question, since both orders are asked. `incomplete_group`: another pair of its group is unusable.
"""

Ties = Literal["drop", "count"]

_ITEM = ("benchmark", "item_id")
_TEXTS = ("instruction", "response_a", "response_b")
_SCHEMA = {
    name: pl.String
    for name in (
        *("benchmark", "subset", "item_id", "group_id", "question", *_TEXTS),
        *("label", "reference", "variant", "label_seen"),
    )
}


def benchmark_rows(
    name: str, records: Iterable[Record], form: FormatName = "pairs", *, ties: Ties = "drop"
) -> pl.DataFrame:
    """The table of one benchmark; rows that no verdict could be right about are kept with their reason.

    A group is dropped as a whole: best of 4 without one of the wrong answers would be another, easier task. So the
    pairs beside an unusable one are `incomplete_group`, and repeated pairs are dropped only where the whole group is
    a repetition.

    Args:
        name: of the benchmark.
        records: each with the fields of its format.
        form: of the records, one of `formats.FORMATS`.
        ties: whether a tie is dropped, or counted as an item whose right verdict is a tie.

    Returns:
        benchmark, subset (the benchmark's name where it has none), item_id, group_id, instruction_id (hash of the
        instruction without differences of case and white space; of the first turn where there are two), instruction,
        response_a, response_b, label (A, B, TIE or null), reference, variant, label_seen (what stands instead of a
        label that could not be read), drop_reason; in the order of the items.
    """
    items = list(FORMATS[form].items(records))
    rows = pl.DataFrame([_row(name, item) for item in items], schema=_SCHEMA).with_columns(
        is_text=pl.Series([_is_text(item) for item in items], dtype=pl.Boolean),
        drop_reason=pl.Series([item.set_aside for item in items], dtype=pl.String),
    )
    asked = rows.select(pl.coalesce("question", "instruction", pl.lit("")).alias("asked"))
    asked_ids = row_ids("instruction", asked.select(normalized_instruction("asked")).to_series())
    screened = _unusable(rows).pipe(_repeated).pipe(_of_no_use, ties)
    return screened.with_columns(pl.Series("instruction_id", asked_ids, dtype=pl.String)).select(
        *("benchmark", "subset", "item_id", "group_id", "instruction_id"),
        *(*_TEXTS, "label", "reference", "variant", "label_seen", "drop_reason"),
    )


def items_read(name: str, records: Iterable[Record], form: FormatName = "pairs") -> pl.DataFrame:
    """benchmark and item_id of every item of a benchmark as it was read: what its table has to account for."""
    ids = [item.item_id for item in FORMATS[form].items(records)]
    return pl.DataFrame({"benchmark": [name] * len(ids), "item_id": ids}, schema=dict.fromkeys(_ITEM, pl.String))


def _row(name: str, item: Item) -> dict[str, str | None]:
    cells = item._replace(
        subset=name if is_missing(item.subset) else item.subset,
        group_id=item.group_id or item.item_id,
        reference=None if is_missing(item.reference) else item.reference,
        label_seen=None if item.label is not None else "" if is_missing(item.label_seen) else item.label_seen,
    )._asdict()
    return {"benchmark": name} | {
        field: None if cells[field] is None else str(cells[field]) for field in _SCHEMA if field != "benchmark"
    }


def _is_text(item: Item) -> bool:
    return all(isinstance(text, str) for text in (item.instruction, item.response_a, item.response_b))


def _unusable(rows: pl.DataFrame) -> pl.DataFrame:
    decided = pl.col("label").is_in(["A", "B"])
    reason = (
        pl.when(pl.col("drop_reason").is_not_null())
        .then("drop_reason")
        .when(~pl.col("is_text"))
        .then(pl.lit("not_text"))
        .when(pl.any_horizontal(is_empty(field) for field in _TEXTS))
        .then(pl.lit("empty_text"))
        .when(pl.col("label").is_null())
        .then(pl.lit("no_label"))
        .when(decided & (pl.col("response_a") == pl.col("response_b")))
        .then(pl.lit("equal_responses"))
    )
    return rows.with_columns(drop_reason=reason)


def _repeated(rows: pl.DataFrame) -> pl.DataFrame:
    usable = pl.col("drop_reason").is_null()
    responses = pl.concat_list("response_a", "response_b").list.sort()
    occurrence = pl.int_range(pl.len())
    seen = rows.with_columns(usable=usable, responses=responses).with_columns(
        same=pl.col("usable") & (occurrence.over("usable", *_TEXTS) > 0),
        either=pl.col("usable") & (occurrence.over("usable", "instruction", "responses") > 0),
    )
    reason = pl.when("same").then(pl.lit("duplicate")).otherwise(pl.lit("swapped_duplicate"))
    as_whole = pl.when(pl.col("either").all().over("group_id")).then(reason)
    return seen.with_columns(drop_reason=pl.coalesce("drop_reason", as_whole))


def _of_no_use(rows: pl.DataFrame, ties: Ties) -> pl.DataFrame:
    dropped_tie = (pl.col("label") == "TIE") & pl.lit(ties == "drop")
    rows = rows.with_columns(drop_reason=pl.coalesce("drop_reason", pl.when(dropped_tie).then(pl.lit("tie"))))
    beside_dropped = pl.col("drop_reason").is_not_null().any().over("group_id")
    incomplete = pl.when(beside_dropped).then(pl.lit("incomplete_group"))
    return rows.with_columns(drop_reason=pl.coalesce("drop_reason", incomplete))
