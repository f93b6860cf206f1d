"""One's own data under the names of our formats."""

from collections.abc import Mapping

from selftaught_assets.method.benchmarks.items import Label, Record, label_text

LABEL_AS_GIVEN = "label as given"
"""Field of a record that keeps its own value where a recipe maps labels."""


def renamed(record: Record, columns: Mapping[str, str]) -> dict[str, object]:
    """The record with each field of `columns` read from its column; its other fields stay."""
    return {**record, **{field: record[column] for field, column in columns.items()}}


def label_of(value: object, labels: Mapping[Label, object]) -> Label | None:
    """The label that a value stands for, compared by `label_text`; None if it is not mapped, or is no value."""
    text = label_text(value)
    if text is None:
        return None
    return next((label for label, meaning in labels.items() if label_text(meaning) == text), None)
