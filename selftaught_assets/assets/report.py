"""The asset `report`: a page that shows everything of a recipe so far."""

import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from selftaught_assets.assets.evaluation import SEED, read_verdicts
from selftaught_assets.assets.family import SECONDS, UNPARTITIONED, Family
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.assets.progress import collect_results
from selftaught_assets.errors import UserError
from selftaught_assets.method.costs import ACCOUNT
from selftaught_assets.method.scoring.results import ResultRow
from selftaught_assets.report.browser import Rows, read_rows
from selftaught_assets.report.charts import key_plots
from selftaught_assets.report.contents import Attack, CheckOutcome, Contents, Recorded, Reviewed, StageRecord
from selftaught_assets.report.page import render_page
from selftaught_assets.report.reading import read_iterations
from selftaught_assets.review.answers import agreement
from selftaught_assets.staleness import ITERATION
from selftaught_assets.storage.files import written_aside

SOURCES = ("instruction_pool", "seed_model", "benchmarks", "seed_evaluation")
"""Assets of no iteration whose time the report shows."""

_ATTACK = "attack/"


def read_recorded(
    instance: dg.DagsterInstance, family: Family, checks: Iterable[dg.AssetCheckKey], iterations: list[str]
) -> Recorded:
    """Of every iteration, and of the assets that belong to none (under None).

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        checks: that its definitions have.
        iterations: that have begun.
    """
    checks = list(checks)
    materialized = {
        iteration: {
            name: made
            for name in (SOURCES if iteration is None else ITERATION)
            if (made := newest_materialization(instance, family.key(name), iteration))
        }
        for iteration in (None, *iterations)
    }
    return Recorded(
        checks={
            iteration: [outcome for check in checks for outcome in _outcomes(instance, check, iteration)]
            for iteration in (None, *iterations)
        },
        stages={
            iteration: [_stage(name, made) for name, made in assets.items()]
            for iteration, assets in materialized.items()
        },
        attacks=[
            attack
            for iteration, assets in materialized.items()
            for name in ("seed_evaluation", "evaluation")
            if name in assets
            for attack in _attacks(iteration or "seed", assets[name])
        ],
    )


def _outcomes(instance: dg.DagsterInstance, check: dg.AssetCheckKey, iteration: str | None) -> Iterator[CheckOutcome]:
    """The latest finished evaluation of a check on one partition, if it has any."""
    asset = check.asset_key.path[-1]
    if (asset in UNPARTITIONED) is not (iteration is None):
        return
    # Dagster's public call knows the newest evaluation in any partition only.
    records = instance.event_log_storage.get_asset_check_execution_history(
        check,
        limit=1,
        status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
        partition_filter=PartitionKeyFilter(key=iteration),
    )
    for record in records:
        evaluation = record.evaluation
        if evaluation is None:
            continue
        outcome = "passed" if evaluation.passed else evaluation.severity.value
        time = datetime.fromtimestamp(record.create_timestamp, UTC).isoformat(timespec="seconds")
        yield CheckOutcome(asset, check.name, outcome, evaluation.description or "", time)


def _stage(name: str, made: dg.AssetMaterialization) -> StageRecord:
    numbers = {entry: value.value for entry, value in made.metadata.items()}
    return StageRecord(name, numbers.get(SECONDS), {entry: numbers[entry] for entry in ACCOUNT if entry in numbers})


def _attacks(judge: str, made: dg.AssetMaterialization) -> Iterator[Attack]:
    numbers = {entry: value.value for entry, value in made.metadata.items() if entry.startswith(_ATTACK)}
    for name in dict.fromkeys(entry.split("/")[1] for entry in numbers):
        success, low, high, n = (
            numbers[f"{_ATTACK}{name}/{part}"] for part in ("success", "success_low", "success_high", "n")
        )
        yield Attack(judge, name, success, low, high, n)


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

        `selftaught report --open` makes it again and shows it.
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
    """Writes the page of a recipe from everything so far; missing parts are left out, and the page says so.

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
