"""Reading JSON Lines as users have them.

Belongs here: lines to objects, with the line in every complaint. Not here: what the fields mean.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selftaught_assets.errors import UserError

Line = tuple[int, dict[str, Any]]
"""A line's number, from 1, and its object."""


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[Line]:
    r"""Yields (line number from 1, object) for every line that is not blank.

    Lines end at "\n" only: U+2028 and its like are ordinary characters inside JSON strings.

    Raises:
        UserError: the file is missing, not UTF-8, or a line is not a JSON object or lacks a required field.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist or is not a file.")
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                value = json.loads(raw.decode("utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from None
            if not isinstance(value, dict):
                raise UserError(f"{path}, line {number}: expected a JSON object, found {type(value).__name__}.")
            missing = [field for field in required if field not in value]
            if missing:
                raise UserError(f"{path}, line {number}: the field {missing[0]!r} is missing.")
            yield number, value
