"""Reading JSON Lines as users have them.

Belongs here: lines to objects, with the line in every complaint. Not here: what the fields mean.
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

Line = tuple[int, dict[str, Any]]
"""A line's number, from 1, and its object."""


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[Line]:
    r"""Yields (line number from 1, object) for every line that is not blank.

    Lines end at "\n" only: U+2028 and its like are ordinary characters inside JSON strings. A byte order mark at the
    beginning is skipped. A file whose name ends in ".gz" is unpacked on the way.

    Raises:
        UserError: the file cannot be read or unpacked, is not UTF-8, or a line is not a JSON object or lacks a
            required field.
    """
    for number, raw in enumerate(_raw_lines(path), start=1):
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip()
        if not text:
            continue
        try:
            value = json.loads(text.decode("utf-8"))
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # Fails on half a surrogate pair, which is no text.
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


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise UserError(f"{path} is not a whole gzip file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {os.strerror(error.errno).lower()}.") from None
