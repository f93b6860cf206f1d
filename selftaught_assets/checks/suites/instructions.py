"""The suites of `instruction_pool` and `instructions`: what the judge will be taught about.

Both have the same ones, but for those about what is lost on the way.
"""

from functools import partial

import polars as pl

from selftaught_assets.checks.rules import (
    KEPT,
    Estimate,
    RowRule,
    Subject,
    Suite,
    between,
    count,
    estimated,
    exactly,
    matching,
    not_null,
    null,
    share,
    shorter_or_equal,
    texts_not_repeated,
)
from selftaught_assets.method.identity import VISIBLE
from selftaught_assets.method.instructions import RUN, benchmark_overlap
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_table

ASSETS = ("instruction_pool", "instructions")

UNPRINTABLE = r"[\p{Cc}\p{Co}\p{Cn}\x{FFFD}\x{202A}-\x{202E}\x{2066}-\x{2069}--[\t\n\r]]"
"""Control and unassigned characters, what a broken encoding leaves behind, overrides of the direction of writing."""

CATEGORIES_SHOWN = 30


def instruction_suites(recipe: Recipe) -> list[Suite]:
    made = [make(recipe, asset) for asset in ASSETS for make in (usable_text, no_benchmark_overlap)]
    made += [few_repetitions(recipe), count_reached(recipe)]
    chosen = recipe.instructions.categories
    shared = [asset for asset in ASSETS if asset == "instruction_pool" or chosen is None or len(chosen) > 1]
    return [*made, *(category_share(recipe, asset) for asset in shared if recipe.pool.has_categories)]


def usable_text(recipe: Recipe, asset: str) -> Suite:
    """Instructions are there, different, of usable length and readable."""
    of, odd, longest = "kept instructions", recipe.checks.max_odd_share, recipe.instructions.max_characters
    too_long = (
        share("too_long_share", of, f"the share longer than {longest:,} characters", "long", high=odd, where=KEPT)
        if asset == "instruction_pool"
        else RowRule(
            "too_long",
            of,
            f"are longer than {longest:,} characters",
            (shorter_or_equal("instruction", longest),),
            KEPT,
        )
    )
    shortest = f"the share shorter than {recipe.checks.min_characters} characters"
    return Suite(
        asset=asset,
        name="usable_text",
        purpose="Empty, repeated and broken instructions cost as much as good ones and teach nothing.",
        rows=partial(_texts, recipe, asset),
        shown=("instruction_id", "line", "instruction", "source"),
        rules=(
            RowRule("empty", of, "are empty", (not_null("instruction"), matching("instruction", VISIBLE)), KEPT),
            RowRule(
                "repeated",
                of,
                "repeat an earlier one, apart from white space and case",
                (texts_not_repeated("instruction", ignore_case=True),),
                KEPT,
            ),
            too_long,
            share("too_short_share", of, shortest, "short", high=odd, where=KEPT),
            share(
                "unprintable_share", of, "the share with unprintable characters", "unprintable", high=odd, where=KEPT
            ),
        ),
    )


def few_repetitions(recipe: Recipe) -> Suite:
    """The pool is about as large as its file."""
    return Suite(
        asset="instruction_pool",
        name="few_repetitions",
        purpose="Rows that repeat an instruction are not used; if there are many, a second field may distinguish them.",
        rows=lambda subject: subject.tables["instruction_pool"],
        shown=("line", "instruction_id", "instruction"),
        rules=(
            share(
                "repeated_share",
                "rows of the pool",
                "the share that repeats the instruction of an earlier row",
                "drop_reason",
                "duplicate",
                high=recipe.checks.max_repeated_instructions,
            ),
        ),
    )


def count_reached(recipe: Recipe) -> Suite:
    """The recipe's number of instructions is selected."""
    return Suite(
        asset="instructions",
        name="count_reached",
        purpose="Fewer instructions than `instructions.count` give fewer pairs than planned.",
        rows=lambda subject: subject.tables["instructions"],
        shown=("instruction_id", "line", "instruction"),
        rules=(
            count(
                "selected",
                "selected instructions",
                "the number of selected instructions",
                low=recipe.instructions.count,
                where=KEPT,
                severity="warning",
            ),
        ),
    )


def category_share(recipe: Recipe, asset: str) -> Suite:
    """No category crowds the others out."""
    of = "kept instructions"
    return Suite(
        asset=asset,
        name="category_share",
        purpose="A judge learns from what it is shown: the mix of categories is the mix of its skills.",
        rows=partial(_categories, asset),
        shown=("instruction_id", "line", "category", "instruction"),
        numbers=_category_numbers,
        rules=(
            share(
                "largest_category_share",
                of,
                "the share of the most frequent category",
                "is_largest",
                high=recipe.checks.max_category_share,
                where=KEPT,
            ),
            share(
                "uncategorized_share",
                of,
                "the share without a category",
                "category",
                None,
                high=recipe.checks.max_odd_share,
                where=KEPT,
            ),
        ),
    )


def no_benchmark_overlap(recipe: Recipe, asset: str) -> Suite:
    """No instruction is one that judges are measured on."""
    of, most = "kept instructions", recipe.checks.max_contained_share
    return Suite(
        asset=asset,
        name="no_benchmark_overlap",
        purpose="Testing on training data measures memory: no instruction may come from a benchmark of the recipe.",
        rows=partial(_overlaps, recipe, asset),
        shown=("instruction_id", "line", "equal_to", "shares_with", "shared", "instruction"),
        after=("benchmarks",),
        rules=(
            RowRule("in_benchmark", of, "are an instruction of a benchmark", (null("equal_to"),), KEPT),
            RowRule(
                "copied_from_benchmark",
                of,
                f"hold {most:.0%} or more of the runs of {RUN} words of a benchmark instruction",
                (between("shared", None, most, strict_max=True),),
                KEPT,
            ),
            RowRule(
                "shares_run_with_benchmark",
                of,
                f"share a run of {RUN} words with a benchmark instruction",
                (null("shares_with"),),
                KEPT,
                severity="warning",
            ),
            estimated(
                "benchmarks_not_compared",
                of,
                "the number of benchmarks that are not materialized and so could not be compared,",
                _not_compared,
                high=0,
            ),
        ),
    )


def _texts(recipe: Recipe, asset: str, subject: Subject) -> pl.DataFrame:
    characters = pl.col("instruction").str.len_chars()
    return subject.tables[asset].with_columns(
        long=characters > recipe.instructions.max_characters,
        short=characters < recipe.checks.min_characters,
        unprintable=pl.col("instruction").str.contains(UNPRINTABLE),
    )


def _categories(asset: str, subject: Subject) -> pl.DataFrame:
    table = subject.tables[asset]
    known = table.filter(KEPT.holds)["category"].drop_nulls()
    largest = known.value_counts(sort=True)["category"].head(1)
    return table.with_columns(is_largest=pl.col("category").is_in(largest.implode()))


def _category_numbers(rows: pl.DataFrame) -> dict[str, int | float]:
    """Shares of the most frequent categories among the kept rows."""
    kept = rows.filter(KEPT.holds)
    counts = kept["category"].drop_nulls().value_counts(sort=True).head(CATEGORIES_SHOWN)
    return {"rows": rows.height} | {f"category/{name}": count / kept.height for name, count in counts.iter_rows()}


def _overlaps(recipe: Recipe, asset: str, subject: Subject) -> pl.DataFrame:
    table = subject.tables[asset]
    names = [benchmark.name for benchmark in recipe.benchmarks]
    items = _benchmark_instructions(subject.layout).filter(pl.col("benchmark").is_in(names))
    not_compared = len(set(names) - set(items["benchmark"]))
    items = items.with_columns(item_id=pl.format("{}/{}", "benchmark", "item_id"))
    kept = table.filter(KEPT.holds)
    found = kept.select("line").hstack(benchmark_overlap(kept["instruction"], items))
    joined = table.join(found, on="line", how="left", maintain_order="left")
    return joined.with_columns(not_compared=pl.lit(not_compared))


def _benchmark_instructions(layout: Layout) -> pl.DataFrame:
    """benchmark, item_id and instruction of every item that is on record, those that cannot be scored included."""
    columns = ("benchmark", "item_id", "instruction")
    table = read_table(layout.table("benchmarks"))
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String)) if table is None else table.select(columns)


def _not_compared(rows: pl.DataFrame) -> Estimate | None:
    return exactly(rows["not_compared"][0], rows.height) if rows.height else None
