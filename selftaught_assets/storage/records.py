"""Reading records as users and publishers have them: JSON Lines, JSON, Parquet and CSV, one file or a folder of them.

Belongs here: files to records, with file, line and field in every complaint. Not here: data sets of the hub (hub.py)
and what the fields mean (`method.benchmarks`).
"""

import codecs
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.storage.jsonl import json_value, read_jsonl, require_eight_bits


class Record(NamedTuple):
    """What one line, row or entry holds."""

    file: str
    where: str
    """Its place in the file, as a complaint names it: "line 3"."""
    part: str | None
    """What tells its file from the others of the folder, or its split from the others; None where there is one only."""
    values: dict[str, Any]


def read_records(path: Path, required: tuple[str, ...], files: str | None = None) -> Iterator[Record]:
    """The records of a file, or of the files of a folder in the order of their names.

    Args:
        path: a file whose name ends in one of `SUFFIXES`, or a folder.
        required: fields that every record must have.
        files: pattern of the files of a folder that are read, None for all; hidden ones and other kinds never are.

    Raises:
        UserError: nothing is there to read, a file is not what its name says, or a record lacks a required field.
    """
    if not path.is_dir():
        yield from (Record(str(path), where, None, values) for where, values in _read_file(path, required))
        return
    pattern = files or "**/*"
    found = [file for file in sorted(path.glob(pattern)) if _is_readable(file.relative_to(path)) and file.is_file()]
    if not found:
        raise UserError(f"The folder {path} has no file {pattern!r} that ends in {_LISTED}.")
    for file, part in zip(found, _parts([file.relative_to(path) for file in found]), strict=True):
        yield from (Record(str(file), where, part, values) for where, values in _read_file(file, required))


_Placed = Iterator[tuple[str, dict[str, Any]]]


def _read_file(path: Path, required: tuple[str, ...]) -> _Placed:
    for suffix, read in _READERS.items():
        if path.name.endswith(suffix):
            return read(path, required)
    raise UserError(f"{path} cannot be read: its name must end in {_LISTED}.")


def _jsonl(path: Path, required: tuple[str, ...]) -> _Placed:
    return ((f"line {number}", values) for number, values in read_jsonl(path, required))


def _json(path: Path, required: tuple[str, ...]) -> _Placed:
    try:
        content = json_value(_text_bytes(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}, column {error.colno}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a JSON list of objects, found {type(content).__name__}.")
    for number, values in enumerate(content, start=1):
        place = f"entry {number}"
        if not isinstance(values, dict):
            raise UserError(f"{path}, {place}: expected a JSON object, found {type(values).__name__}.")
        missing = [field for field in required if field not in values]
        if missing:
            raise UserError(f"{path}, {place}: the field {missing[0]!r} is missing.")
        yield place, values


def _parquet(path: Path, required: tuple[str, ...]) -> _Placed:
    content = _bytes(path)
    try:
        frame = pl.read_parquet(content)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
    _require_columns(path, frame.columns, required)
    return ((f"row {number}", row) for number, row in enumerate(frame.iter_rows(named=True), start=1))


def _csv(path: Path, required: tuple[str, ...]) -> _Placed:
    content = _text_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not valid UTF-8 ({error.reason}): save it as CSV UTF-8.") from None
    csv.field_size_limit(sys.maxsize)  # A response may be longer than the module's 131,072 characters.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if header is None:
                header = cells
                _require_columns(path, header, required)
            elif cells:
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                    )
                yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from None


_READERS: dict[str, Callable[[Path, tuple[str, ...]], _Placed]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".csv": _csv,
}

SUFFIXES = tuple(_READERS)
_LISTED = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {os.strerror(error.errno).lower()}.") from None


def _text_bytes(path: Path) -> bytes:
    """What a file of text holds, without a byte order mark."""
    content = _bytes(path)
    require_eight_bits(path, content)
    return content.removeprefix(codecs.BOM_UTF8)


def _require_columns(path: Path, columns: list[str], required: tuple[str, ...]) -> None:
    missing = [field for field in required if field not in columns]
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; it has {', '.join(columns) or 'none'}.")
    if len(set(columns)) < len(columns):
        raise UserError(f"{path}: two columns have the same name; it has {', '.join(columns)}.")


def _is_readable(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.parts)


def _parts(paths: list[Path]) -> list[str | None]:
    """The part of each path in which the files differ: their folders where all have one name, else path and name."""
    if len(paths) == 1:
        return [None]
    stems = [path.with_name(path.name.split(".")[0]) for path in paths]
    same_name = len({stem.name for stem in stems}) == 1
    return [(stem.parent if same_name else stem).as_posix() for stem in stems]
