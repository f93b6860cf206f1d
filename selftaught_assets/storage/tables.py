"""Tables as Parquet files, one per asset and partition, with how they were made inside the same file."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl
from pydantic import ConfigDict, ValidationError

from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import VALUES_TOGETHER, digest
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.files import Record, read_record, written_aside

KEY = "selftaught"
"""Under which the record stands, as JSON, in the key-value metadata of the Parquet file."""

ROWS_TOGETHER = 1 << 15
"""Rows of a row group. A row that is looked up by its id is unpacked with its group: about 15 MB of texts."""

_NULL_LENGTH = 2**32 - 1
"""Stands for a text that is null, apart from the empty one."""


class Provenance(Record):
    """How a table was made. The content of the table, and so its data version, does not depend on it."""

    model_config = ConfigDict(extra="ignore")

    asset: str
    recipe: str
    partition: str | None
    data_version: str | None
    """Hash of the table's content; the rows of tables of one version are equal."""
    basis: Basis
    """What the table rests on: code, settings by content, and data versions of the inputs as they were used."""
    settings: dict[str, object]
    """What the recipe said, by section: its seed, the sections that the asset uses and, where it samples, engine and
    seed model. Prompt templates as texts."""
    run_id: str
    """Of the run in Dagster."""
    made_at: datetime
    """In UTC."""
    software: str
    """Version of this package."""
    numbers: dict[str, int | float | str]
    """What the step measured, as the UI shows it: accounts of rows, shares, tokens, costs, digests."""


def write_table(path: Path, frame: pl.DataFrame, provenance: Provenance | None = None) -> None:
    """Puts a table in place, with how it was made; complete or not at all.

    Raises:
        UserError: the disk is full.
    """
    metadata = None if provenance is None else {KEY: provenance.model_dump_json()}
    content = io.BytesIO()  # In memory, since Polars reports a full disk as an error of its own.
    frame.write_parquet(content, row_group_size=ROWS_TOGETHER, metadata=metadata)
    with written_aside(path) as aside:
        aside.write_bytes(content.getbuffer())


def read_provenance(path: Path) -> Provenance | None:
    """How a table was made; None where the file does not say: absent, damaged, or written without it.

    Raises:
        UserError: a newer release wrote it.
    """
    try:
        with path.open("rb") as file:
            metadata = pl.read_parquet_metadata(file)
        return read_record(Provenance, metadata[KEY], path)
    except (FileNotFoundError, pl.exceptions.PolarsError, KeyError, ValidationError):
        return None


def read_table(path: Path) -> pl.DataFrame | None:
    """A table by its path; None if it does not exist.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    with _damage_is_a_user_error(path):
        return pl.read_parquet(path, glob=False)


def count_rows(path: Path, *wanted: pl.Expr) -> int | None:
    """How many rows of a table meet all conditions, without reading other columns; None if it does not exist.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    with _damage_is_a_user_error(path):
        return pl.scan_parquet(path, glob=False).filter(*wanted).select(pl.len()).collect().item()


@contextmanager
def _damage_is_a_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError:
        raise UserError(f"The table {path} is damaged: materialize it again.") from None


def table_version(frame: pl.DataFrame) -> str:
    """The content hash of a table: equal rows in equal order, in columns of equal names and types, have equal versions.

    How the file is written does not matter, nor where it is. A slice of a column is in memory at a time.
    """
    hasher = hashlib.sha256()
    for name, dtype in frame.schema.items():
        hasher.update(digest(name, str(dtype), frame.height).encode("ascii"))
        for part in _text(frame[name]) if dtype == pl.String else _json(frame[name]):
            hasher.update(part)
    return hasher.hexdigest()[:16]


def _text(column: pl.Series) -> Iterator[bytes]:
    """The lengths of all texts, then the texts: as JSON they would take four times as long."""
    lengths = column.str.len_bytes().fill_null(_NULL_LENGTH)
    yield lengths.to_numpy().astype("<u4", copy=False).tobytes()
    for start in range(0, len(column), VALUES_TOGETHER):
        yield column.slice(start, VALUES_TOGETHER).str.join("").item().encode("utf-8")


def _json(column: pl.Series) -> Iterator[bytes]:
    for start in range(0, len(column), VALUES_TOGETHER):
        yield digest(column.slice(start, VALUES_TOGETHER).to_list()).encode("ascii")
