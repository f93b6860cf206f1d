"""The check `rows_accounted` of every table: an independent recount of its rows from the tables upstream."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import polars as pl

from selftaught_assets.checks.rules import KEPT, RowRule, Subject, Suite, Tables, Where, in_set, not_null, unique
from selftaught_assets.errors import UserError
from selftaught_assets.method import instructions, judging, pairs, pool, single, training_set
from selftaught_assets.method.benchmarks import items as benchmark_items
from selftaught_assets.method.judging import NO_ORDER, ORDERS, POSITIONS, SETTLES
from selftaught_assets.method.scoring.accuracy import Decoding
from selftaught_assets.method.scoring.held_out import held_out_items
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.pools import read_pool
from selftaught_assets.storage.tables import read_table

_PRESENT = Where((("present", True),), stored=())
_KEPT = Where((("kept", True),), stored=KEPT.stored)
_EXPECTED = Where((("expected", True),), stored=None)


@dataclass(frozen=True)
class _Account:
    """How the rows of one table follow from what is upstream."""

    asset: str
    key: tuple[str, ...]
    """Columns that tell its rows apart and are known upstream."""
    expected: Callable[[Subject], pl.DataFrame]
    """The keys of the rows that must be there, one row each."""
    upstream: tuple[str, ...] = ()
    id: str | None = None
    """Its content hash, where the key is not all there is."""
    unique_among: Literal["present", "kept"] = "present"
    """Rows whose ids differ: repeated instructions stay in the pool as dropped rows with the id of the first."""
    reasons: tuple[str, ...] = ()
    """Every reason for which a row may be dropped."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *([self.id] if self.id else []), "drop_reason")


def rows_accounted(recipe: Recipe) -> list[Suite]:
    """The suites of all tables."""
    return [_suite(account) for account in _accounts(recipe)]


def _accounts(recipe: Recipe) -> list[_Account]:
    is_single = recipe.judgments.form == "single"
    order = pl.DataFrame({"order": (NO_ORDER,) if is_single else ORDERS}).join(
        pl.DataFrame({"decoding": get_args(Decoding)}), how="cross"
    )
    asked = pl.DataFrame({"chosen_position": POSITIONS}) if recipe.judgments.positions == "both" else None
    asked = pl.DataFrame({"rated": single.RATED}) if is_single else asked
    item = ("item_id", "benchmark")
    pool_reasons = pool.POOL_DROP_REASONS
    return [
        _Account(
            "instruction_pool",
            ("source", "line"),
            lambda _: _pool_lines(recipe),
            id="instruction_id",
            unique_among="kept",
            reasons=pool_reasons,
        ),
        _Account(
            "benchmarks",
            item,
            lambda subject: _items_read(subject.layout),
            reasons=benchmark_items.DROP_REASONS,
        ),
        _Account(
            "instructions",
            ("source", "line"),
            lambda subject: subject.tables["instruction_pool"].select("source", "line"),
            upstream=("instruction_pool",),
            id="instruction_id",
            unique_among="kept",
            reasons=(*pool_reasons, *instructions.SELECTION_DROP_REASONS),
        ),
        _Account(
            "pairs",
            ("instruction_id",),
            lambda subject: _kept(subject.tables["instructions"]).select("instruction_id"),
            upstream=("instructions",),
            id="pair_id",
            reasons=pairs.DROP_REASONS,
        ),
        _Account(
            "judgments",
            ("pair_id", "sample_index", *(asked.columns if asked is not None else ())),
            lambda subject: _judgments(recipe, asked, subject.tables),
            upstream=("pairs",),
            id="judgment_id",
            reasons=judging.UNASKED_REASONS,
        ),
        _Account(
            "filtered_set",
            ("judgment_id",),
            lambda subject: _kept(subject.tables["judgments"]).select("judgment_id"),
            upstream=("judgments",),
            id="example_id",
            reasons=single.DROP_REASONS if is_single else (*training_set.DROP_REASONS, training_set.DROP_REASON),
        ),
        _Account(
            "seed_evaluation",
            (*item, *order.columns),
            lambda subject: _benchmark_verdicts(order, subject.tables),
            upstream=("benchmarks",),
        ),
        _Account(
            "evaluation",
            (*item, *order.columns),
            lambda subject: _verdicts(recipe, order, subject.tables),
            upstream=("benchmarks", "pairs"),
        ),
    ]


def _suite(account: _Account) -> Suite:
    rows, among = ("kept rows", _KEPT) if account.unique_among == "kept" else ("rows", _PRESENT)
    ids = (
        RowRule("ids_repeated", rows, f"share their `{account.id}` with another row", (unique(account.id),), among)
        if account.id
        else None
    )
    origin = " and ".join(f"`{name}`" for name in account.upstream) or "what was read"
    return Suite(
        asset=account.asset,
        name="rows_accounted",
        purpose=f"Rows in = rows kept + rows dropped for a reason, recounted from {origin}.",
        rows=partial(_recount, account),
        shown=account.columns,
        upstream=account.upstream,
        numbers=_count,
        rules=(
            RowRule("rows_missing", "expected rows", "are missing", (not_null("place"),), _EXPECTED),
            RowRule(
                "rows_unexpected",
                "rows",
                "are repeated, or come from nothing upstream",
                (not_null("place_upstream"),),
                _PRESENT,
            ),
            *([ids] if ids else []),
            RowRule(
                "reasons_unknown",
                "rows",
                "are dropped for an unknown reason",
                (in_set("drop_reason", account.reasons),),
                _PRESENT,
            ),
        ),
    )


def _recount(account: _Account, subject: Subject) -> pl.DataFrame:
    """The rows of the table and those that it lacks, side by side; equal keys are told apart by their occurrence."""
    table = subject.tables[account.asset]
    if "drop_reason" not in table.columns:
        table = table.with_columns(drop_reason=pl.lit(None, dtype=pl.String))
    key = list(account.key)
    occurrence = pl.int_range(pl.len()).over(key).alias("occurrence")
    expected = account.expected(subject).cast({name: table.schema[name] for name in key})
    rows = table.select(*account.columns, occurrence, place=pl.int_range(pl.len())).join(
        expected.select(*key, occurrence, place_upstream=pl.int_range(pl.len())),
        on=[*key, "occurrence"],
        how="full",
        coalesce=True,
        nulls_equal=True,
        maintain_order="left_right",
    )
    present = pl.col("place").is_not_null()
    return rows.with_columns(
        present=present,
        expected=pl.col("place_upstream").is_not_null(),
        dropped=pl.col("drop_reason").is_not_null(),
        kept=present & pl.col("drop_reason").is_null(),
    )


def _count(rows: pl.DataFrame) -> dict[str, int]:
    reasons = rows.filter("dropped").group_by("drop_reason").len().sort("drop_reason")
    return {
        "rows": int(rows["present"].sum()),
        "rows_expected": int(rows["expected"].sum()),
        "rows_kept": int(rows["kept"].sum()),
        **{f"dropped_{reason}": count for reason, count in reasons.iter_rows()},
    }


def _judgments(recipe: Recipe, asked: pl.DataFrame | None, tables: Tables) -> pl.DataFrame:
    """All n samples of each request; where the search ends early, those up to the first judgment that ends it."""
    requests, n = _kept(tables["pairs"]).select("pair_id"), recipe.judgments.n
    if asked is not None:
        requests = requests.join(asked, how="cross")
    samples = requests.with_columns(last=pl.lit(n - 1))
    if recipe.stops_when_right:
        ends = tables["judgments"].filter(SETTLES).group_by(requests.columns).agg(pl.col("sample_index").min())
        samples = requests.join(ends, on=requests.columns, how="left", maintain_order="left").with_columns(
            last=pl.col("sample_index").fill_null(n - 1)
        )
    return samples.select(*requests.columns, sample_index=pl.int_ranges(pl.col("last") + 1)).explode("sample_index")


def _benchmark_verdicts(order: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    return _kept(tables["benchmarks"]).select("item_id", "benchmark").join(order, how="cross")


def _verdicts(recipe: Recipe, order: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Those on benchmarks, and the greedy ones on held-out pairs."""
    pairs = held_out_items(tables["pairs"], validation_share=recipe.filter.validation_share, seed=recipe.seed)
    greedy = order.filter(pl.col("decoding") == "greedy")
    synthetic = pairs.select("item_id", "benchmark").join(greedy, how="cross")
    return pl.concat([_benchmark_verdicts(order, tables), synthetic])


def _kept(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("drop_reason").is_null())


def _pool_lines(recipe: Recipe) -> pl.DataFrame:
    lines = [(record.source, record.line) for record in read_pool(recipe.pool)]
    return pl.DataFrame(lines, {"source": pl.String, "line": pl.Int64}, orient="row")


def _items_read(layout: Layout) -> pl.DataFrame:
    items = read_table(layout.benchmark_items)
    if items is None:
        raise UserError("There is no record of what the benchmarks held when they were read: materialize `benchmarks`.")
    return items
