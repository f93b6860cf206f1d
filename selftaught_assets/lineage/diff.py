"""The differences between two iterations, of one recipe or of two."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.lineage.lookup import Tables
from selftaught_assets.lineage.nodes import Models
from selftaught_assets.lineage.schema import Model
from selftaught_assets.method.scoring.comparison import Compared, compare_judges
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.checkpoints import Manifest
from selftaught_assets.storage.layout import Layout

TABLES = ("instructions", "pairs", "judgments", "filtered_set", "evaluation")
SECTIONS = (
    "pool",
    "benchmarks",
    "seed_model",
    "prompts",
    "engine",
    "instructions",
    "pairs",
    "judgments",
    "verdicts",
    "filter",
    "training",
    "evaluation",
)
"""Of the recipe: those that determine what is in the tables."""

LISTED = 10
"""Ids of rows that only one side has, of each table."""

_COMPARED_BY = {
    "instructions": ("instructions", "instruction_id"),
    "pairs": ("pairs", "pair_id"),
    "examples": ("filtered_set", "example_id"),
    "pairs with an example": ("filtered_set", "pair_id"),
}
"""Which kept rows are told apart by which id. An example's id changes with the judge that wrote it; its pair's does
not."""

_MISSING = object()


class Side(NamedTuple):
    """One iteration of one recipe."""

    layout: Layout
    recipe: Recipe
    iteration: str


class Count(TypedDict):
    """Rows of a table; `rows` = `kept` + the sum of `dropped`."""

    rows: int
    kept: int
    dropped: dict[str, int]
    """By reason, the most frequent first."""


class Shared(TypedDict):
    """Kept rows of both sides, by id."""

    both: int
    only_a: int
    only_b: int
    first_only_a: list[str]
    """The first `LISTED` ids in ascending order."""
    first_only_b: list[str]


class Difference(TypedDict):
    """All differences, beginning with what may have caused them."""

    a: dict[str, str]
    """recipe and iteration."""
    b: dict[str, str]
    settings: dict[str, list[Any]]
    """By path, such as `judgments.sampling.temperature`: the value of a and of b; only those that differ. A value that
    one side has not is null."""
    settings_from: list[str]
    """Of a and of b: `tables`, as it was when they were made; or `recipe`, as it is today, where they do not say."""
    models: dict[str, list[Model | None]]
    """generator, judge and checkpoint: of a and of b; null where there is none."""
    tables: dict[str, list[Count | None]]
    """By table: of a and of b; null where there is none."""
    shared: dict[str, Shared]
    accuracy: Compared | None
    """a is `before`, b `after`."""
    benchmark: str
    not_compared: str | None
    """Why there is no accuracy."""


def diff(a: Side, b: Side, benchmark: str | None = None) -> Difference:
    """Compares two iterations.

    Args:
        a: the one.
        b: the other.
        benchmark: on which they are compared; the first one of a's recipe by default.

    Raises:
        UserError: one of them has no tables, or a table is damaged.
    """
    tables = [_of(side) for side in (a, b)]
    models = [Models(side.layout, side.recipe.seed_model) for side in (a, b)]
    sides = list(zip((a, b), tables, models, strict=True))
    settings = [_settings(*one) for one in sides]
    name = benchmark or a.recipe.benchmarks[0].name
    accuracy, why = _accuracy(a, b, tables, name)
    counts = {asset: [_count(found, asset, side.iteration) for side, found, _ in sides] for asset in TABLES}
    return {
        "a": {"recipe": a.recipe.name, "iteration": a.iteration},
        "b": {"recipe": b.recipe.name, "iteration": b.iteration},
        "settings": _different(*_known_of_both(*(said for said, _ in settings))),
        "settings_from": [source for _, source in settings],
        "models": {
            "generator": [_writer(*one, "pairs", "generator") for one in sides],
            "judge": [_writer(*one, "judgments", "judge") for one in sides],
            "checkpoint": [_checkpoint(side, known) for side, _, known in sides],
        },
        "tables": {asset: both for asset, both in counts.items() if both != [None, None]},
        "shared": _shared(a, b, tables),
        "accuracy": accuracy,
        "benchmark": name,
        "not_compared": why,
    }


def _of(side: Side) -> Tables:
    tables = Tables(side.layout)
    known = sorted({iteration for asset in TABLES for iteration in tables.iterations(asset)})
    if side.iteration not in known:
        there = f"only {', '.join(known)}" if known else "none at all"
        raise UserError(f"Recipe {side.recipe.name} has no tables of {side.iteration!r}, {there}: run it first.")
    return tables


def _settings(side: Side, tables: Tables, models: Models) -> tuple[dict[str, Any], str]:
    """What the recipe said, by section, as far as the tables of the iteration know; and where that is from."""
    said: dict[str, Any] = {}
    for asset in ("instruction_pool", "benchmarks", *TABLES):
        made = tables.made(asset, side.iteration if asset in TABLES else None)
        said |= made.settings if made else {}
    current = _current(side, models)
    if current is not None:
        said["training"] = current.training
    if set(said) - {"training"}:
        return said, "tables"
    return side.recipe.settings(*SECTIONS), "recipe"


def _known_of_both(a: dict[str, Any], b: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Without the sections that one side does not know yet: an iteration that has not got so far differs in nothing."""
    return {name: a[name] for name in a if name in b}, {name: b[name] for name in b if name in a}


def _different(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name in sorted({*a, *b}):
        one, other = a.get(name, _MISSING), b.get(name, _MISSING)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= _different(one, other, f"{path}{name}.")
        elif one != other:
            found[f"{path}{name}"] = [None if value is _MISSING else value for value in (one, other)]
    return found


def _count(tables: Tables, asset: str, iteration: str) -> Count | None:
    scan = tables.scan(asset, iteration)
    if scan is None:
        return None
    has_reasons = "drop_reason" in scan.collect_schema().names()
    reason = pl.col("drop_reason") if has_reasons else pl.lit(None, dtype=pl.String).alias("drop_reason")
    (found,) = tables.collect([scan.group_by(reason).len().sort(["len", "drop_reason"], descending=[True, False])])
    dropped = dict(found.iter_rows())
    return {"rows": sum(dropped.values()), "kept": dropped.pop(None, 0), "dropped": dropped}


def _shared(a: Side, b: Side, tables: list[Tables]) -> dict[str, Shared]:
    found: dict[str, Shared] = {}
    for name, (asset, column) in _COMPARED_BY.items():
        scans = [each.scan(asset, side.iteration) for each, side in zip(tables, (a, b), strict=True)]
        if any(scan is None for scan in scans):
            continue
        one, other = (scan.filter(pl.col("drop_reason").is_null()).select(column).unique() for scan in scans)
        joins = [
            one.join(other, on=column, how="semi"),
            *(_anti(*pair, column) for pair in ((one, other), (other, one))),
        ]
        both, only_a, only_b = tables[0].collect(joins)
        found[name] = {
            "both": both.height,
            "only_a": only_a.height,
            "only_b": only_b.height,
            "first_only_a": only_a[column].sort().head(LISTED).to_list(),
            "first_only_b": only_b[column].sort().head(LISTED).to_list(),
        }
    return found


def _anti(one: pl.LazyFrame, other: pl.LazyFrame, column: str) -> pl.LazyFrame:
    return one.join(other, on=column, how="anti")


def _writer(side: Side, tables: Tables, models: Models, asset: str, column: str) -> Model | None:
    """Who wrote a table; it is one model for all rows."""
    scan = tables.scan(asset, side.iteration)
    (found,) = tables.collect([scan.select(column).head(1)]) if scan is not None else (pl.DataFrame(),)
    return None if found.is_empty() else models.of(found.item())


def _checkpoint(side: Side, models: Models) -> Model | None:
    current = _current(side, models)
    return current and models.of(current.digest)


def _current(side: Side, models: Models) -> Manifest | None:
    here = (one.manifest for one in models.checkpoints if one.iteration == side.iteration and one.current)
    return next(here, None)


def _accuracy(a: Side, b: Side, tables: list[Tables], benchmark: str) -> tuple[Compared | None, str | None]:
    verdicts = []
    for side, found in zip((a, b), tables, strict=True):
        scan = found.scan("evaluation", side.iteration)
        of_benchmark = None if scan is None else found.collect([scan.filter(pl.col("benchmark") == benchmark)])[0]
        if of_benchmark is None or of_benchmark.is_empty():
            return None, f"{side.iteration} of {side.recipe.name} is not evaluated on {benchmark}."
        verdicts.append(of_benchmark)
    form = next((known.format for known in a.recipe.benchmarks if known.name == benchmark), "pairs")
    try:
        return compare_judges(*verdicts, form), None
    except ValueError as error:
        return None, str(error)
