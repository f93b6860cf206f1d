"""Completions to put into journals, and what is found of them."""

from pathlib import Path

import polars as pl

from selftaught_assets.storage.journal import SCHEMA, Journal


def completions(*keys: str, samples: int = 2, text: str = "text", error: str | None = None) -> pl.DataFrame:
    """Samples of each key; failed ones where there is an error."""
    finish = "stop" if error is None else "failed"
    rows = [
        (key, index, f"{text} {key} {index} é🦉", finish, 3, 4, 2, error) for key in keys for index in range(samples)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def found(journal: Journal, *keys: str) -> pl.DataFrame:
    """What a lookup finds, sorted."""
    return journal.lookup(pl.Series(keys, dtype=pl.String)).sort("key", "sample_index")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.parquet"))
