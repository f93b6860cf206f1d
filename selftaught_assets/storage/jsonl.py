"""Reading JSON Lines as users have them.

Belongs here: lines to objects, with the line in every complaint; JSON and encodings as all readers of users' files
understand them. Not here: what the fields mean.
"""

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selftaught_assets.errors import UserError

_BEGINNING = 64
"""Bytes in which UTF-16 shows: of letters of Europe every other one is zero, which no text in UTF-8 has."""

Line = tuple[int, dict[str, Any]]
"""A line's number, from 1, and its object."""


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[Line]:
    r"""Yields (line number from 1, object) for every line that is not blank.

    Lines end at "\n" only: U+2028 and its like are ordinary characters inside JSON strings. A byte order mark at the
    beginning is skipped. A file whose name ends in ".gz" is unpacked on the way.

    Raises:
        UserError: the file cannot be read or unpacked, is not UTF-8, or a line is not a JSON object, repeats a field or
            lacks a required one.
    """
    for number, raw in enumerate(_raw_lines(path), start=1):
        if number == 1:
            require_eight_bits(path, raw)
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip()
        if not text:
            continue
        try:
            value = json_value(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg}, column {error.colno}).") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(value).__name__}.")
        missing = [field for field in required if field not in value]
        if missing:
            raise UserError(f"{path}, line {number}: the field {missing[0]!r} is missing.")
        yield number, value


def json_value(content: bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not UTF-8 or no JSON, an object repeats a field, of which the second would replace the first,
            or a string holds half of a surrogate pair, which is no text.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # Fails on half of a surrogate pair.
    return value


def require_eight_bits(path: Path, beginning: bytes) -> None:
    """Raises UserError where a file begins as UTF-16 does, as some spreadsheets and editors save text."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in beginning[:_BEGINNING]:
        raise UserError(f"{path} is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8).")


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(fields)
    if len(values) < len(fields):
        names = [name for name, _ in fields]
        repeated = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"the field {repeated!r} stands there twice")
    return values


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise UserError(f"{path} is not a whole gzip file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {os.strerror(error.errno).lower()}.") from None
