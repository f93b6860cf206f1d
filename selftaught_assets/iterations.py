"""The iterations as Dagster partitions: their keys, their order, previous and next.

Keys are zero-padded because asset backfills submit their runs sorted by the partition key as a string.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def iteration_key(number: int) -> str:
    """The partition key of the iteration with this number, from 1."""
    return f"iteration_{number:02d}"


def iteration_number(key: str) -> int:
    """The number of the iteration with this partition key, from 1."""
    return int(key.removeprefix("iteration_"))


def iteration_partitions(count: int) -> "dg.StaticPartitionsDefinition":
    """Partitions `iteration_01` … for `count` iterations."""
    import dagster as dg  # Here, since all else in this module is asked for by what does without Dagster.

    return dg.StaticPartitionsDefinition([iteration_key(number) for number in range(1, count + 1)])


def previous_iteration(key: str) -> str | None:
    """The key before this one; None for the first."""
    number = iteration_number(key)
    return iteration_key(number - 1) if number > 1 else None


def next_iteration(key: str, count: int) -> str | None:
    """The key after this one; None for the last of `count` iterations."""
    number = iteration_number(key)
    return iteration_key(number + 1) if number < count else None
