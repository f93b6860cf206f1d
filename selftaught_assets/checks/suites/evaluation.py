"""The suites of `benchmarks`, `evaluation` and `seed_evaluation`: is the judge better for the training?

Of `benchmarks` it is asked whether judges can be measured on what was brought. The others look at greedy verdicts:
they are independent of one another, and a paired test on the same pairs says whether a judge lost.
"""

from functools import partial

import polars as pl

from selftaught_assets.checks.rules import Estimate, Subject, Suite, Where, estimated, share, share_estimate
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.method.scoring.accuracy import IS_RIGHT, TOO_LONG, Scores, compare, score
from selftaught_assets.method.scoring.comparison import SIGNIFICANT
from selftaught_assets.method.scoring.held_out import HELD_OUT, overfit_gap, without_held_out
from selftaught_assets.method.scoring.results import greedy_of, same_items
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.tables import read_table

VALUES_SHOWN = 10


def benchmark_suites(recipe: Recipe) -> list[Suite]:
    return [labels_read(recipe)]


def labels_read(recipe: Recipe) -> Suite:
    """Nearly all rows of every benchmark have a label."""
    return Suite(
        asset="benchmarks",
        name="labels_read",
        purpose="A row with an unreadable label is not used; many such rows suggest another spelling of the labels.",
        rows=_rows,
        shown=("item_id", "benchmark", "label_seen", "instruction"),
        rules=(
            estimated(
                "unlabelled_share",
                "rows of the benchmark with the most",
                "the share without a label that can be read",
                _largest_share,
                high=recipe.checks.max_odd_share,
                culprits="unlabelled",
            ),
        ),
        numbers=_values_seen,
    )


def _rows(subject: Subject) -> pl.DataFrame:
    return subject.tables["benchmarks"].with_columns(unlabelled=pl.col("drop_reason").eq_missing("no_label"))


def _largest_share(rows: pl.DataFrame) -> Estimate | None:
    """Of the benchmark that has surely the most: a small one must not be lost among large ones."""
    shares = [share_estimate(part["unlabelled"]) for part in rows.partition_by("benchmark", maintain_order=True)]
    return max((share for share in shares if share is not None), key=lambda share: share.low, default=None)


def _values_seen(rows: pl.DataFrame) -> dict[str, int | float]:
    """The most frequent values that are no label, by benchmark."""
    unread = rows.filter("unlabelled").group_by("benchmark", pl.col("label_seen").fill_null("")).len()
    most = unread.sort("len", "benchmark", "label_seen", descending=[True, False, False]).head(VALUES_SHOWN)
    return {"rows": rows.height} | {f"no_label/{name}/{value!r}": count for name, value, count in most.iter_rows()}


ASSETS = ("seed_evaluation", "evaluation")
OF = "greedy verdicts"
SHOWN = ("item_id", "benchmark", "order", "label", "verdict", "finish_reason")

GREEDY = ("decoding", "greedy")
ON_HELD_OUT = Where((("benchmark", HELD_OUT),), stored=(("benchmark", HELD_OUT), GREEDY))
ON_BENCHMARK = Where((("on_benchmark", True),), stored=None)
OF_SEED = Where((("on_benchmark", True),), stored=(GREEDY,))
"""On pairs of benchmarks too: the seed is measured on no others."""

CHANCE = 0.5
"""Accuracy of a coin in both orders; with invalid verdicts, or on ties that count, a guesser has less."""


def evaluation_suites(recipe: Recipe) -> list[Suite]:
    both = [make(recipe, asset) for asset in ASSETS for make in (beyond_chance, invalid_share)]
    return [*both, not_worse(recipe), overfitting(recipe)]


def beyond_chance(recipe: Recipe, asset: str) -> Suite:
    """The judge is better than a coin, on every benchmark."""
    return Suite(
        asset=asset,
        name="beyond_chance",
        purpose="If a judge is no better than a coin, the judgments that are kept are right by luck.",
        rows=partial(_greedy, asset),
        shown=SHOWN,
        rules=tuple(
            estimated(
                f"{benchmark.name}_accuracy_low",
                f"{OF} on {benchmark.name}",
                f"the lower end of the interval of accuracy on {benchmark.name}",
                partial(_lower_end, benchmark.name),
                low=CHANCE,
                where=ON_BENCHMARK,
                culprits="right",
            )
            for benchmark in recipe.benchmarks
        ),
    )


def invalid_share(recipe: Recipe, asset: str) -> Suite:
    """Verdicts can be read, and the judge can be asked for them."""
    return Suite(
        asset=asset,
        name="invalid_share",
        purpose="An invalid verdict counts as wrong: if there are many, accuracy measures the format.",
        rows=partial(_greedy, asset),
        shown=SHOWN,
        rules=tuple(
            share(
                f"{kind}_{name}",
                f"{OF} on {described}",
                f"the share of verdicts on {described} {fault}",
                column,
                value,
                high=most,
                where=where,
            )
            for name, fault, column, value, most in (
                ("invalid_share", "that could not be read", "verdict", None, recipe.checks.max_invalid_share),
                (
                    "too_long_share",
                    "that count as wrong because their prompt was too long",
                    "finish_reason",
                    TOO_LONG,
                    0.0,
                ),
            )
            for kind, described, where in (
                ("benchmark", "benchmarks", ON_BENCHMARK if asset == "evaluation" else OF_SEED),
                *([(HELD_OUT, "held-out pairs", ON_HELD_OUT)] if asset == "evaluation" else []),
            )
        ),
    )


def not_worse(recipe: Recipe) -> Suite:
    """The judge is not significantly worse than the one before."""
    return Suite(
        asset="evaluation",
        name="not_worse",
        purpose="This judge replaces the one before: a paired test on the same pairs says whether it is worse.",
        rows=partial(_with_previous, recipe),
        shown=SHOWN,
        rules=tuple(
            estimated(
                f"{benchmark.name}_gain",
                f"{OF} on {benchmark.name}",
                f"the gain in accuracy on {benchmark.name} over the judge before",
                partial(_gain, benchmark.name),
                low=0.0,
                where=ON_BENCHMARK,
                culprits="not_lost",
            )
            for benchmark in recipe.benchmarks
        ),
    )


def overfitting(recipe: Recipe) -> Suite:
    """What the judge learned from synthetic pairs also holds for the benchmark's."""
    first = recipe.benchmarks[0].name
    return Suite(
        asset="evaluation",
        name="overfit_gap",
        purpose="A judge that is much better on synthetic pairs than on the benchmark has learned how pairs are made.",
        rows=partial(_greedy, "evaluation"),
        shown=SHOWN,
        rules=(
            estimated(
                "overfit_gap",
                f"{OF} on held-out pairs and {first}",
                f"accuracy on held-out synthetic pairs minus accuracy on {first}",
                partial(_gap, first),
                high=recipe.checks.max_overfit_gap,
            ),
        ),
        numbers=_held_out_numbers,
    )


def _greedy(asset: str, subject: Subject) -> pl.DataFrame:
    return greedy_of(subject.tables[asset]).with_columns(
        on_benchmark=pl.col("benchmark") != HELD_OUT,
        right=IS_RIGHT,
    )


def _scores(rows: pl.DataFrame, benchmark: str) -> Scores | None:
    verdicts = rows.filter(pl.col("benchmark") == benchmark)
    try:
        return score(verdicts)
    except ValueError:
        return None  # A pair lacks an order, which `rows_accounted` says, or there is none.


def _lower_end(benchmark: str, rows: pl.DataFrame) -> Estimate | None:
    scores = _scores(rows, benchmark)
    if scores is None:
        return None
    low = min(scores.interval.low, scores.interval_clustered.low)
    return Estimate(low, low, low, scores.n)


def _with_previous(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    """The verdicts of this judge beside those of the one before, where that was measured on the same pairs."""
    rows = _greedy("evaluation", subject).with_columns(before=pl.lit(None, dtype=pl.String), not_lost=pl.lit(True))
    previous = previous_iteration(subject.iteration)
    layout = subject.layout
    table = read_table(layout.table("seed_evaluation") if previous is None else layout.table("evaluation", previous))
    if table is None:
        return rows
    key = ["benchmark", "item_id", "order"]
    earlier = greedy_of(without_held_out(table))
    shared = [
        name
        for (name,), part in rows.filter("on_benchmark").group_by("benchmark")
        if same_items(earlier.filter(pl.col("benchmark") == name), part.select(earlier.columns))
    ]
    earlier = earlier.filter(pl.col("benchmark").is_in(shared))
    was_right = earlier.select(*key, pl.col("verdict").fill_null("INVALID").alias("was"), was_right=IS_RIGHT)
    return rows.join(was_right, on=key, how="left", maintain_order="left").with_columns(
        before="was", not_lost=~pl.col("was_right").fill_null(False) | pl.col("right")
    )


def _gain(benchmark: str, rows: pl.DataFrame) -> Estimate | None:
    """With the bootstrap interval, widened to 0 where the exact test over instructions sees no difference.

    The bootstrap is a point where all instructions agree, however few they are; the test is not misled by that.
    """
    after = rows.filter((pl.col("benchmark") == benchmark) & pl.col("before").is_not_null())
    if after.is_empty():
        return None
    before = after.with_columns(verdict=pl.when(pl.col("before") != "INVALID").then("before"))
    test = compare(before, after)
    low, high = test.interval
    if test.p_clustered >= SIGNIFICANT:
        low, high = min(low, 0.0), max(high, 0.0)
    return Estimate(test.difference, low, high, test.n)


def _gap(benchmark: str, rows: pl.DataFrame) -> Estimate | None:
    held_out, measured = _scores(rows, HELD_OUT), _scores(rows, benchmark)
    if held_out is None or measured is None:
        return None
    gap = overfit_gap(held_out, measured)
    return Estimate(gap.value, *gap.interval, held_out.n + measured.n)


def _held_out_numbers(rows: pl.DataFrame) -> dict[str, int | float]:
    scores = _scores(rows, HELD_OUT)
    numbers = {"rows": rows.height, "held_out_verdicts": rows.filter(ON_HELD_OUT.holds).height}
    return numbers if scores is None else numbers | {"held_out_accuracy": scores.accuracy}
