"""Accounts of rows: what went into a stage is what came out plus what was dropped, by reason.

Belongs here: the sum. Not here: the reasons, which each stage names itself.
"""

from typing import NamedTuple

import polars as pl


class Account(NamedTuple):
    """Rows of one stage; `rows_in` = `kept` + the sum of `dropped`."""

    rows_in: int
    kept: int
    dropped: dict[str, int]
    """Rows for each drop reason, the most frequent first."""


def account(frame: pl.DataFrame, rows_in: int) -> Account:
    """Counts a table by its `drop_reason` (null = kept); a table without that column keeps all rows.

    Args:
        frame: the table that the stage made.
        rows_in: rows that it had to account for.

    Raises:
        ValueError: rows appeared or vanished.
    """
    has_reasons = "drop_reason" in frame.columns
    reasons = frame if has_reasons else frame.with_columns(drop_reason=pl.lit(None, dtype=pl.String))
    counts = reasons.group_by("drop_reason").len().sort(["len", "drop_reason"], descending=[True, False])
    by_reason = dict(counts.iter_rows())
    kept = by_reason.pop(None, 0)
    if frame.height != rows_in:
        dropped = frame.height - kept
        raise ValueError(f"{rows_in} rows went in, but {kept} kept and {dropped} dropped make {frame.height}.")
    return Account(rows_in, kept, by_reason)
