"""Labelled pairs on which judges are measured.

Belongs here: which rows of a benchmark can be scored, and why the others cannot. Not here: reading files (storage),
asking the judge (`judging`) and scoring (`scores`).
"""

from collections.abc import Iterable, Mapping

import polars as pl

from selftaught_assets.method.texts import is_empty

DROP_REASONS = ("not_text", "empty_text", "tie", "no_label")
"""Why a row cannot be scored. Where several apply, the first in this order is reported."""

_TEXTS = ("instruction", "response_a", "response_b")
_SCHEMA = {name: pl.String for name in ("benchmark", "subset", "item_id", *_TEXTS, "label")}


def benchmark_rows(name: str, records: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """The table of one benchmark; rows that no verdict could be right about are kept with their reason.

    Args:
        name: of the benchmark.
        records: id, instruction, response_a, response_b, label ("A", "B" or "tie"), and subset where there is one.

    Returns:
        benchmark, subset (the benchmark's name where it has none), item_id, instruction, response_a, response_b,
        label, drop_reason, in the order of the records.
    """
    rows, is_text = [], []
    for record in records:
        texts = {field: record[field] for field in _TEXTS}
        is_text.append(all(isinstance(text, str) for text in texts.values()))
        rows.append(
            {
                "benchmark": name,
                "subset": str(record.get("subset") or name),
                "item_id": str(record["id"]),
                **{field: text if isinstance(text, str) else str(text) for field, text in texts.items()},
                "label": str(record["label"]),
            }
        )
    reason = (
        pl.when(~pl.Series("is_text", is_text, dtype=pl.Boolean))
        .then(pl.lit("not_text"))
        .when(pl.any_horizontal(is_empty(field) for field in _TEXTS))
        .then(pl.lit("empty_text"))
        .when(pl.col("label").str.to_lowercase() == "tie")
        .then(pl.lit("tie"))
        .when(~pl.col("label").is_in(["A", "B"]))
        .then(pl.lit("no_label"))
    )
    return pl.DataFrame(rows, schema=_SCHEMA).with_columns(reason.alias("drop_reason"))
