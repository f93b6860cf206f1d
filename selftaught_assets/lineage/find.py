"""From an id, or its beginning, to the row or model that it names.

Belongs here: where is looked, and the sentences for too few, too many and none. Not here: what is said of the row.
"""

from typing import NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.lineage.models import Models
from selftaught_assets.lineage.schema import Kind
from selftaught_assets.lineage.tables import Query, Tables

SHORTEST_PREFIX = 4
SHOWN = 5

_SELECTED: tuple[Kind, str, str] = ("instruction", "instructions", "instruction_id")
_ROWS: tuple[tuple[Kind, str, str], ...] = (
    ("pair", "pairs", "pair_id"),
    ("judgment", "judgments", "judgment_id"),
    ("example", "filtered_set", "example_id"),
)


class Found(NamedTuple):
    """What an id names."""

    kind: Kind
    id: str
    benchmark: str | None = None
    """Of an item."""
    own_id: str | None = None
    """Of an instruction that was found by the id that the pool's file gives it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}" if self.benchmark is None else f"{self.kind} {self.benchmark}/{self.id}"


def find(tables: Tables, models: Models, text: str) -> Found:
    """The one row or model whose id is `text` or begins with it; an instruction also by its id in the pool's file.

    An id in full comes before what it is the beginning of. An item of a benchmark may be named `benchmark/item_id`,
    where two benchmarks have it.

    Raises:
        UserError: it is too short, or several, or none.
    """
    candidates = _candidates(tables, models, text)
    whole = [found for found in candidates if text in (found.id, f"{found.benchmark}/{found.id}", found.own_id)]
    if not whole and len(text) < SHORTEST_PREFIX:
        raise UserError(f"{text!r} is too short: give at least {SHORTEST_PREFIX} characters of an id.")
    matching = whole or candidates
    if not matching:
        raise UserError(
            f"No row or model has the id {text!r}: looked at {_named(tables)} and the digests of judges and "
            f"checkpoints in {tables.layout.folder}."
        )
    if len(matching) > 1:
        listed = ", ".join(map(str, matching[:SHOWN]))
        more = ", …" if len(matching) > SHOWN else ""
        raise UserError(f"{text!r} may be several: {listed}{more}; give more of it.")
    return matching[0]


def _candidates(tables: Tables, models: Models, text: str) -> list[Found]:
    """What begins with the text, each once: of each table the first ones in order, so an id in full is among them."""
    places = _places(tables)
    queries = [Query(asset, key, _begins(column, text), (column,)) for _, asset, key, column in places]
    benchmark, slash, item = text.partition("/")
    named = pl.col("benchmark").eq(benchmark) & _begins("item_id", item) if slash else pl.lit(False)
    queries.append(Query("benchmarks", None, named | _begins("item_id", text), ("item_id", "benchmark")))
    *rows, items = tables.rows(queries, at_most=SHOWN + 1)
    found = _with_own_id(tables, text)
    found += [
        Found(kind, row[column]) for (kind, _, _, column), those in zip(places, rows, strict=True) for row in those
    ]
    found += [Found("item", row["item_id"], row["benchmark"]) for row in items]
    found += [
        Found("model", digest)
        for digest in sorted(models.digests())
        if len(text) >= SHORTEST_PREFIX and digest.startswith(text)
    ]
    return list(dict.fromkeys(found))


def _with_own_id(tables: Tables, text: str) -> list[Found]:
    """The instruction whose line in the pool has this id, in full: ids of files are often numbers in a row."""
    scan = tables.scan("instruction_pool", None)
    if scan is None or "pool_id" not in scan.collect_schema():  # A table of an earlier version.
        return []
    (rows,) = tables.rows([Query("instruction_pool", None, pl.col("pool_id") == text, ("instruction_id", "pool_id"))])
    return [Found("instruction", row["instruction_id"], own_id=row["pool_id"]) for row in rows]


def _begins(column: str, text: str) -> pl.Expr:
    whole = pl.col(column) == text
    return whole if len(text) < SHORTEST_PREFIX else pl.col(column).str.starts_with(text)


def _places(tables: Tables) -> list[tuple[Kind, str, str | None, str]]:
    """Kind, table, iteration and column of the ids. What iterations select is in the pool, unless that is gone."""
    pool: list[tuple[Kind, str, str | None, str]] = [("instruction", "instruction_pool", None, "instruction_id")]
    has_pool = tables.layout.table("instruction_pool").is_file()
    return [*pool, *_iterated(tables, _ROWS if has_pool else (_SELECTED, *_ROWS))]


def _iterated(tables: Tables, kinds: tuple[tuple[Kind, str, str], ...]) -> list[tuple[Kind, str, str | None, str]]:
    return [(kind, asset, key, column) for kind, asset, column in kinds for key in tables.iterations(asset)]


def _named(tables: Tables) -> str:
    """The tables that there are."""
    names = dict.fromkeys([*(asset for _, asset, _, _ in _places(tables)), "benchmarks"])
    there = [name for name in names if tables.iterations(name) or tables.layout.table(name).is_file()]
    return ", ".join(there) or "no table (nothing is materialized)"
