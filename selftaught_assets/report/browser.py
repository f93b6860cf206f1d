"""The rows of the browser: every sampled judgment with its pair and what became of it, packed to be embedded.

Texts that rows share are embedded once: those of a pair stand in a table of pairs, which rows refer to by number.
Columns with few different values are numbers into a list of these values.
"""

import base64
import gzip
import json
from dataclasses import dataclass

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.identity import draw
from selftaught_assets.recipe import Recipe
from selftaught_assets.report.reading import scan
from selftaught_assets.storage.layout import Layout

LIMIT = 50_000
"""Judgments that a page holds at most: a browser opens and searches them in about a second."""

KEPT = "kept"
WAITING = "not filtered yet"
"""Outcomes of a judgment beside the drop reasons: trained on, and written in an iteration without examples so far."""

_PAIR_TEXTS = ("pair_id", "instruction_id", "instruction", "modified_instruction", "chosen", "rejected")
_PAIR_NAMES = ("generator", "strategy", "category", "source")
_NAMES = ("iteration", "verdict", "finish_reason", "judge", "outcome", "split", "side")


@dataclass(frozen=True)
class Rows:
    """The judgments that a page holds."""

    pairs: pl.DataFrame
    judgments: pl.DataFrame
    """Sorted by iteration and pair; `pair` is the number of a row of `pairs`."""
    total: int
    """Judgments that there are."""
    seed: int
    """Of the sample, where not all are held."""


def read_rows(layout: Layout, recipe: Recipe, *, limit: int = LIMIT) -> Rows:
    """All judgments of a recipe, or those of whole pairs drawn by seed, as many as the limit allows.

    A pair that several iterations judge is drawn with the judgments of all of them.

    Raises:
        UserError: a table is damaged.
    """
    keys = [iteration_key(number) for number in range(1, recipe.iterations + 1)]
    keys = [key for key in keys if all(layout.table(name, key).is_file() for name in ("pairs", "judgments"))]
    try:
        return _read_rows(layout, recipe, keys, limit)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"A table in {layout.folder} cannot be read: {' '.join(str(error).split())[:200]}.") from None


def pack(rows: Rows) -> str:
    """The rows as columns in JSON, compressed with gzip, in base64: safe to stand anywhere in a page."""
    names = {name: _values(rows.judgments[name]) for name in _NAMES}
    pair_names = {name: _values(rows.pairs[name]) for name in _PAIR_NAMES}
    content = {
        "total": rows.total,
        "names": names | pair_names,
        "pairs": {name: rows.pairs[name].to_list() for name in (*_PAIR_TEXTS, "line")}
        | {name: _numbers(rows.pairs[name], pair_names[name]) for name in _PAIR_NAMES},
        "rows": {
            name: rows.judgments[name].to_list()
            for name in ("judgment_id", "example_id", "judgment", "pair", "sample_index", "completion_tokens")
        }
        | {"is_correct": rows.judgments["is_correct"].cast(pl.Int8).to_list()}
        | {name: _numbers(rows.judgments[name], names[name]) for name in _NAMES},
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return base64.b64encode(gzip.compress(text, compresslevel=6, mtime=0)).decode("ascii")


def _read_rows(layout: Layout, recipe: Recipe, keys: list[str], limit: int) -> Rows:
    if not keys:
        return Rows(_no_pairs(), _no_judgments(), 0, recipe.seed)
    per_pair = pl.concat(scan(layout.table("judgments", key)).select("pair_id") for key in keys)
    counted = per_pair.group_by("pair_id").len().collect(engine="streaming")
    drawn = counted.select("pair_id")
    total = int(counted["len"].sum())
    if total > limit:
        shuffled = counted.sort(draw("pair_id", recipe.seed, "report"))
        drawn = shuffled.filter(pl.col("len").cum_sum() <= limit).select("pair_id")
    pairs = _pairs(layout, keys, drawn)
    numbers = pairs.select("pair_id").with_row_index("pair")
    judgments = pl.concat([_judgments(layout, key, numbers) for key in keys])
    return Rows(pairs, judgments, total, recipe.seed)


def _pairs(layout: Layout, keys: list[str], drawn: pl.DataFrame) -> pl.DataFrame:
    """The pairs of several iterations, each once, with the line of the pool that they come from."""
    columns = (*_PAIR_TEXTS, "generator", "strategy")
    tables = [
        scan(layout.table("pairs", key)).select(columns).join(drawn.lazy(), on="pair_id", how="semi") for key in keys
    ]
    pairs = pl.concat(tables).unique("pair_id", keep="first", maintain_order=True).collect(engine="streaming")
    pool = scan(layout.table("instruction_pool"))
    if pool is None:
        return pairs.with_columns(
            pl.lit(None, dtype=pl.String).alias("category"),
            pl.lit(None, dtype=pl.String).alias("source"),
            pl.lit(None, dtype=pl.Int64).alias("line"),
        )
    origin = pool.filter(pl.col("drop_reason").is_null()).select("instruction_id", "category", "source", "line")
    found = origin.join(pairs.lazy().select("instruction_id").unique(), on="instruction_id", how="semi")
    return pairs.join(found.collect(engine="streaming"), on="instruction_id", how="left", maintain_order="left")


def _judgments(layout: Layout, key: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """The judgments of one iteration on some pairs, with their outcome."""
    table = scan(layout.table("judgments", key))
    side = "chosen_position" if "rated" not in table.collect_schema().names() else "rated"
    known = table.join(pairs.lazy().select("pair_id"), on="pair_id", how="semi").collect(engine="streaming")
    judgments = known.join(pairs, on="pair_id", how="left").with_columns(
        pl.lit(key).alias("iteration"), pl.col(side).alias("side")
    )
    examples = scan(layout.table("filtered_set", key))
    if examples is None:
        outcomes = judgments.select("judgment_id").with_columns(
            pl.lit(None, dtype=pl.String).alias("example_id"),
            pl.lit(None, dtype=pl.String).alias("split"),
            pl.lit(WAITING).alias("filtered"),
        )
    else:
        some = judgments.lazy().select("judgment_id")
        outcomes = (
            examples.join(some, on="judgment_id", how="semi")
            .select("judgment_id", "example_id", "split", pl.col("drop_reason").fill_null(KEPT).alias("filtered"))
            .collect(engine="streaming")
        )
    outcome = pl.coalesce("drop_reason", "filtered", pl.lit(WAITING)).alias("outcome")
    return (
        judgments.join(outcomes, on="judgment_id", how="left")
        .with_columns(
            outcome,
            pl.when(pl.col("filtered") == KEPT).then("example_id").alias("example_id"),
            pl.when(pl.col("filtered") == KEPT).then("split").alias("split"),
        )
        .sort("pair", "side", "sample_index")
        .select(_no_judgments().columns)
    )


def _no_judgments() -> pl.DataFrame:
    texts = ("judgment_id", "example_id", "judgment", *_NAMES)
    numbers = ("pair", "sample_index", "completion_tokens")
    return pl.DataFrame(
        schema=dict.fromkeys(texts, pl.String) | dict.fromkeys(numbers, pl.Int64) | {"is_correct": pl.Boolean}
    )


def _no_pairs() -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys((*_PAIR_TEXTS, *_PAIR_NAMES), pl.String) | {"line": pl.Int64})


def _values(column: pl.Series) -> list[str | None]:
    """The different values of a column, the most frequent first."""
    return column.value_counts(sort=True).sort(["count", column.name], descending=[True, False])[column.name].to_list()


def _numbers(column: pl.Series, values: list[str | None]) -> list[int]:
    places = {value: place for place, value in enumerate(values)}
    return [places[value] for value in column]
