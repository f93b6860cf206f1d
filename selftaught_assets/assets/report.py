"""The asset `report`: a page that shows everything of a recipe so far, and the making of it at any moment.

Belongs here: bringing together what the tables and Dagster's event log say. Not here: figures, charts, rows and the
page (report/).
"""

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.measured import SEED, read_verdicts
from selftaught_assets.assets.progress import collect_results
from selftaught_assets.assets.recorded import read_recorded
from selftaught_assets.errors import UserError
from selftaught_assets.method.results import ResultRow
from selftaught_assets.report.contents import Contents, Reviewed
from selftaught_assets.report.images import key_plots
from selftaught_assets.report.page import render_page
from selftaught_assets.report.reading import read_iterations
from selftaught_assets.report.rows import Rows, read_rows
from selftaught_assets.review.agreement import agreement
from selftaught_assets.storage.files import written_aside


class Written(NamedTuple):
    """A page on disk, and what went into it."""

    path: Path
    size: int
    """Of the file, in bytes."""
    contents: Contents
    rows: Rows


def build_report(family: Family) -> dg.AssetsDefinition:
    @family.asset(
        group="evaluation",
        kinds={"polars", "html"},
        shows_so_far=True,
    )
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """A page with the learning curve, every iteration's data, and all sampled judgments to search and open.

        `selftaught report --open` makes it anew and shows it.
        """
        written = write_report(context.instance, family, family.layout.report)
        plots = {
            name: dg.MetadataValue.md(f"![{name}](data:image/png;base64,{image})")
            for name, image in key_plots(written.contents).items()
        }
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(written.path),
                "page": dg.MetadataValue.url(written.path.as_uri()),
                "iterations": len(written.contents.iterations),
                "judgments": written.rows.total,
                "judgments_shown": written.rows.judgments.height,
                "bytes": written.size,
                **plots,
            }
        )

    return report


def write_report(instance: dg.DagsterInstance, family: Family, path: Path) -> Written:
    """Makes the page of a recipe from what there is now; whatever is missing is left out, and the page says so.

    Args:
        instance: whose event log knows checks, times and costs.
        family: of the recipe.
        path: of the page.

    Raises:
        UserError: there is nothing to show yet, a table is damaged, or the disk is full.
    """
    layout, recipe = family.layout, family.recipe
    iterations = read_iterations(layout, recipe)
    results, no_results = _results(instance, family)
    if not iterations and not results:
        raise UserError(f"Recipe {recipe.name} has nothing to report yet: run it first (selftaught run).")
    recorded = read_recorded(instance, family, _checks(family), [iteration.key for iteration in iterations])
    reviews = [Reviewed(**row) for row in agreement(layout)]
    contents = Contents(results, no_results, iterations, recorded, reviews)
    rows = read_rows(layout, recipe)
    page = render_page(recipe, contents, rows, data=layout.folder, made=datetime.now(UTC)).encode("utf-8")
    with written_aside(path) as aside:
        aside.write_bytes(page)
    return Written(path, len(page), contents, rows)


def _checks(family: Family) -> list[dg.AssetCheckKey]:
    """The checks that the definitions of the recipe have."""
    from selftaught_assets.assets.checks import build_checks

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # Partitioned checks; the version is pinned.
        return [key for definition in build_checks(family) for key in definition.check_keys]


def _results(instance: dg.DagsterInstance, family: Family) -> tuple[dict[str, list[ResultRow]], str | None]:
    """The results by benchmark, and the sentence that says why one has none."""
    if read_verdicts(family, SEED) is None:
        return {}, "Nothing is measured yet: `seed_evaluation` has not been materialized."
    results, sentence = {}, None
    for benchmark in family.recipe.benchmarks:
        try:
            results[benchmark.name] = collect_results(instance, family, benchmark.name)
        except UserError as error:
            sentence = str(error)
    return results, sentence
