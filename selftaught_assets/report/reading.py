"""A recipe's tables and checkpoints, read for the report: lazily, only the columns that a figure needs.

Belongs here: which table an iteration's figures come from, and what is shown where one is missing. Not here: the
figures (`figures`), the rows of the browser (`rows`).
"""

from pathlib import Path

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.recipe import Recipe
from selftaught_assets.report import figures
from selftaught_assets.report.contents import Iteration, Step
from selftaught_assets.storage.checkpoints import Manifest, find_current_checkpoint, read_manifest
from selftaught_assets.storage.layout import Layout


def read_iterations(layout: Layout, recipe: Recipe) -> list[Iteration]:
    """Every iteration of which at least the selected instructions or the pairs exist.

    Raises:
        UserError: a table is damaged.
    """
    keys = [iteration_key(number) for number in range(1, recipe.iterations + 1)]
    return [read_iteration(layout, recipe, key) for key in keys if begun(layout, key)]


def begun(layout: Layout, key: str) -> bool:
    """Whether an iteration has a table."""
    return any(layout.table(name, key).is_file() for name in ("instructions", "pairs"))


def read_iteration(layout: Layout, recipe: Recipe, key: str) -> Iteration:
    """One iteration up to its last table; a later stage that has none yet is left out.

    Raises:
        UserError: a table is damaged.
    """
    instructions, pairs, judgments, examples = (
        scan(layout.table(name, key)) for name in ("instructions", "pairs", "judgments", "filtered_set")
    )
    folder = find_current_checkpoint(layout.checkpoints(key))
    manifest = None if folder is None else read_manifest(folder)
    iteration = Iteration(key, [], [], manifest=manifest, checkpoint=folder and str(folder))
    try:
        return _with_figures(iteration, recipe, instructions, pairs, judgments, examples)
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"A table of {key} in {layout.folder} cannot be read ({' '.join(str(error).split())[:120]}): materialize "
            f"{key} again."
        ) from None


def scan(path: Path) -> pl.LazyFrame | None:
    """A table without reading its rows; None if it does not exist."""
    return pl.scan_parquet(path, glob=False) if path.is_file() else None


def _with_figures(
    iteration: Iteration,
    recipe: Recipe,
    instructions: pl.LazyFrame | None,
    pairs: pl.LazyFrame | None,
    judgments: pl.LazyFrame | None,
    examples: pl.LazyFrame | None,
) -> Iteration:
    shown = {"funnel": iteration.funnel, "judged": iteration.judged}
    if instructions is not None:
        shown["funnel"] = figures.table_steps("in the pool", "selected", instructions)
    if pairs is not None:
        shown["funnel"] = shown["funnel"] + figures.table_steps("pairs written", "valid pairs", pairs)
    if pairs is not None and judgments is not None:
        shown["funnel"].append(figures.right_step("with a right judgment", shown["funnel"][-1].rows, judgments))
        shown["passes"] = _passes(recipe, judgments)
        shown["sides"] = figures.position_sides(judgments)
        shown["lengths"] = figures.length_bins(judgments)
        shown["judge_digest"] = judgments.select(pl.col("judge").first()).collect().item()
    if judgments is not None and examples is not None:
        shown["funnel"].append(figures.example_step("examples", judgments, examples))
        shown["judged"] = figures.table_steps("judgments sampled", "kept", examples)
        shown["labels"] = figures.label_counts(examples)
        shown["language"] = figures.language(judgments, examples, seed=recipe.seed)
        if iteration.manifest is not None:
            shown["funnel"].append(_trained(iteration.manifest))
    return Iteration(**vars(iteration) | shown)


def _passes(recipe: Recipe, judgments: pl.LazyFrame) -> pl.DataFrame:
    if recipe.stops_when_right:
        return figures.first_right(judgments, n=recipe.judgments.n)
    return figures.pass_rates(judgments, request="rated" if recipe.judgments.form == "single" else "chosen_position")


def _trained(manifest: Manifest) -> Step:
    metrics = manifest.metrics
    lost = {"held_out": metrics.validation_examples, "beyond_max_tokens": metrics.too_long}
    return Step("trained on", metrics.examples, {reason: rows for reason, rows in lost.items() if rows})
