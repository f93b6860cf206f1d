"""What content determines, on every machine and in every run: ids, seeds, draws, and when two texts are the same.

Random draws that belong to ids: which rows are drawn depends on the seed and their ids, never on the order of rows.

A draw is a fixed permutation of the 64 bits of an id, chosen by the seed (the finalizer of SplitMix64). Different ids
therefore never tie, and since ids are hashes, the values are uniform. Polars' own `hash` would not do: it promises no
stability from one version to the next, and a table must not change with an upgrade.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice

import polars as pl

ID_LENGTH = 16
"""Hex digits of a row id: 64 bits, one expected collision among about five billion rows."""

VALUES_TOGETHER = 1024
"""Values of a column that are in memory as Python's, or as JSON, at once."""

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
    """SHA-256 of a table given as (name, values) columns, in their order.

    It is made of `digest(name, values)` of each, a few values at a time: a whole column as JSON is larger than the
    column.
    """
    hasher = hashlib.sha256()
    for name, values in columns:
        column, rest, comma = hashlib.sha256(f"[{_canonical_json(name)},[".encode("ascii")), iter(values), ""
        while some := list(islice(rest, VALUES_TOGETHER)):
            column.update(f"{comma}{_canonical_json(some)[1:-1]}".encode("ascii"))
            comma = ","
        column.update(b"]]")
        hasher.update(column.hexdigest().encode("ascii"))
    return hasher.hexdigest()


def python_values(column: pl.Series) -> Iterator[object]:
    """The values of a column, a few at a time; lists as lists, which `iter` of a series would not give."""
    for start in range(0, len(column), VALUES_TOGETHER):
        yield from column.slice(start, VALUES_TOGETHER).to_list()


WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What counts as white space, for a set in a regular expression: Polars' `\\s`, which means less in RE2 and more in
Python."""

VISIBLE = f"[^{WHITE_SPACE}]"
"""Regular expression that finds something in every text that is not empty."""


def is_empty(column: str) -> pl.Expr:
    """True where the text is null or only white space."""
    return pl.col(column).fill_null("").str.strip_chars().str.len_bytes() == 0


def with_single_spaces(column: str) -> pl.Expr:
    """The text with every run of white space as one space: two texts that read the same are equal."""
    return pl.col(column).str.replace_all(r"\s+", " ").str.strip_chars()


def normalized_instruction(column: str) -> pl.Expr:
    """The text without differences of white space and case: two instructions that ask the same are equal."""
    return with_single_spaces(column).str.to_lowercase()


def draw(id_column: str, seed: int, purpose: str, *further_ids: str) -> pl.Expr:
    """One UInt64 for each row, uniform, a function of the row's ids, the seed and the purpose alone.

    Args:
        id_column: column of row ids as `identity.row_id` makes them (16 hex digits).
        seed: any integer.
        purpose: tells this draw from the others that are made with one seed. Without it the instructions that a
            selection prefers would also be the ones that a split holds out.
        further_ids: columns of further ids, where a row is a combination of several things.
    """
    bits = _mixed(_bits(id_column) ^ _word(derive_seed(seed, purpose)))
    for further in further_ids:
        bits = _mixed(bits ^ _bits(further))
    return bits


def share(id_column: str, seed: int, purpose: str) -> pl.Expr:
    """The draw as a Float64 in [0, 1]: compare it with a probability."""
    return draw(id_column, seed, purpose).cast(pl.Float64) / 2.0**64


def _bits(id_column: str) -> pl.Expr:
    return pl.col(id_column).str.to_integer(base=16, dtype=pl.UInt64)


def _mixed(bits: pl.Expr) -> pl.Expr:
    bits = bits + _word(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits // _word(1 << 30))) * _word(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits // _word(1 << 27))) * _word(0x94D049BB133111EB)
    return bits ^ (bits // _word(1 << 31))


def _word(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)
