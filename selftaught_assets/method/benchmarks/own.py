"""Your own data: labelled pairs and preferences, with columns and label values that a recipe may name.

It has no score of its own beside accuracy.
"""

from collections.abc import Iterable, Iterator, Mapping

from selftaught_assets.method.benchmarks.items import Format, Item, Label, Record, label_of, placed

LABEL_AS_GIVEN = "label as given"
"""Field of a record that keeps its own value where a recipe maps labels."""

_LABELS: Mapping[Label, str] = {"A": "A", "B": "B", "TIE": "TIE"}


def renamed(record: Record, columns: Mapping[str, str]) -> dict[str, object]:
    """The record with each field of `columns` read from its column; its other fields stay."""
    return {**record, **{field: record[column] for field, column in columns.items()}}


def pairs(records: Iterable[Record]) -> Iterator[Item]:
    """Our own form: `id`, `instruction`, `response_a`, `response_b`, `label` (A, B or tie), `subset`, `reference`.

    Case and blanks around a label do not count.
    """
    for record in records:
        yield Item(
            str(record["id"]),
            record["instruction"],
            record["response_a"],
            record["response_b"],
            label_of(record["label"], _LABELS),
            record.get("subset"),
            reference=record.get("reference"),
            label_seen=record.get(LABEL_AS_GIVEN, record["label"]),
        )


def chosen_rejected(records: Iterable[Record]) -> Iterator[Item]:
    """Preferences: `id`, `instruction`, `chosen`, `rejected`, and `subset`, `reference` if there are any."""
    for record in records:
        yield placed(
            str(record["id"]),
            record["instruction"],
            record["chosen"],
            record["rejected"],
            subset=record.get("subset"),
            reference=record.get("reference"),
        )


PAIRS = Format("pairs", ("id", "instruction", "response_a", "response_b", "label"), pairs, has_ties=True, is_own=True)
CHOSEN_REJECTED = Format("chosen_rejected", ("id", "instruction", "chosen", "rejected"), chosen_rejected, is_own=True)
