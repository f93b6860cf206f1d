"""One's own data under the names of our formats.

Belongs here: columns and label values that a recipe maps. Not here: the formats themselves (`pairs`).
"""

from collections.abc import Mapping

from selftaught_assets.method.benchmarks.items import Label, Record


def renamed(record: Record, columns: Mapping[str, str]) -> dict[str, object]:
    """The record with each field of `columns` read from its column; its other fields stay."""
    return {**record, **{field: record[column] for field, column in columns.items()}}


def label_of(value: object, labels: Mapping[Label, object]) -> Label | None:
    """The label that a value stands for, compared as text since a CSV has no numbers; None if it is not mapped."""
    return next((label for label, meaning in labels.items() if _as_text(meaning) == _as_text(value)), None)


def _as_text(value: object) -> str:
    """1 and 1.0 are one label: a column of whole numbers with a gap in it is often stored as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
