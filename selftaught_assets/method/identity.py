"""Content hashes and derived seeds: the same content has the same id on every machine and in every run.

Belongs here: how ids, digests and seeds are made of content. Not here: what goes into the id of a row (that is
the module that makes the row) and digests of files (storage).
"""

import hashlib
import json
from collections.abc import Iterable

ID_LENGTH = 16
"""Hex digits of a row id: 64 bits, one expected collision among about five billion rows."""

_canonical_json = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode


def digest(*parts: object) -> str:
    """SHA-256, as 64 hex digits, of the parts as canonical JSON. Raises TypeError for what JSON cannot hold."""
    return hashlib.sha256(_canonical_json(parts).encode("ascii")).hexdigest()


def row_id(kind: str, *parts: object) -> str:
    """The id of a row: `kind` ("pair", "judgment", …) keeps equal content of two tables apart."""
    return digest(kind, *parts)[:ID_LENGTH]


def row_ids(kind: str, *columns: Iterable[object]) -> list[str]:
    """`row_id` of every row of a table given as columns. Raises ValueError if they differ in length."""
    return [row_id(kind, *parts) for parts in zip(*columns, strict=True)]


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits out of a master seed and whatever tells this draw from the others."""
    return int(digest("seed", *parts)[:16], 16) >> 1


def frame_digest(columns: Iterable[tuple[str, Iterable[object]]]) -> str:
    """SHA-256 of a table given as (name, values) columns, in their order."""
    hasher = hashlib.sha256()
    for name, values in columns:
        hasher.update(digest(name, list(values)).encode("ascii"))
    return hasher.hexdigest()
