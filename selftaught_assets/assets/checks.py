"""The asset checks in Dagster: the suites of an asset as one step that loads its table once."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import UNPARTITIONED, Family
from selftaught_assets.assets.io_manager import as_failed_step
from selftaught_assets.assets.promotion import publish
from selftaught_assets.checks.project import FROM_CDN, write_validation
from selftaught_assets.checks.results import check_result, validate
from selftaught_assets.checks.rules import Subject, Suite
from selftaught_assets.checks.suites import suites_of

DATA_DOCS = "data_docs"
"""Metadata of every check: where Great Expectations' own page of it is. A path, as browsers follow no link from the UI
to a file."""


def build_checks(family: Family) -> list[dg.AssetChecksDefinition]:
    """The checks of a recipe's assets, of the same partitions as the asset; blocking where they are an ERROR."""
    by_asset = attrgetter("asset")
    groups = groupby(sorted(suites_of(family.recipe), key=by_asset), key=by_asset)
    return [_checks_of(family, asset, list(suites)) for asset, suites in groups]


def _checks_of(family: Family, asset: str, suites: list[Suite]) -> dg.AssetChecksDefinition:
    inputs = dict.fromkeys(name for suite in suites for name in suite.inputs)

    @dg.multi_asset_check(
        name="__".join((*family.recipe.key_prefix, asset)) + "_checks",
        description=f"Data quality of `{asset}`; a failure with severity ERROR stops the run.",
        specs=[_spec(family, suite) for suite in suites],
        ins={name: family.table(name) for name in inputs},
        compute_kind="greatexpectations",
    )
    def checks(context: dg.AssetCheckExecutionContext, **tables: pl.DataFrame) -> Iterator[dg.AssetCheckResult]:
        iteration = context.partition_key if context.has_partition_key else None
        subject = Subject(tables, family.layout, family.partition_of(asset, iteration))
        passed, results = True, []
        for rows_of, checks_of_rows in groupby(suites, key=attrgetter("rows")):
            with as_failed_step():
                rows = rows_of(subject)
            for suite in checks_of_rows:
                found = validate(suite, rows)
                results += found.results
                result = check_result(suite, rows, found.findings, family.key(asset))
                result.metadata[DATA_DOCS] = _link(family)
                passed = passed and (result.passed or result.severity != dg.AssetCheckSeverity.ERROR)
                yield result
        with as_failed_step():
            write_validation(family.layout.validation(asset, subject.iteration), subject.iteration or asset, results)
            if asset == "checkpoint" and passed:
                publish(context, family, context.partition_key)

    return checks


def _spec(family: Family, suite: Suite) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        suite.name,
        asset=family.key(suite.asset),
        description=suite.description,
        additional_deps=[family.key(name) for name in (*suite.upstream, *suite.after)],
        blocking=suite.can_stop,
        partitions_def=None if suite.asset in UNPARTITIONED else family.partitions,
    )


def _link(family: Family) -> dg.MetadataValue:
    page = (family.layout.data_docs / "index.html").absolute().as_uri()
    return dg.MetadataValue.md(f"`{page}`, once `selftaught checks docs` has built it. {FROM_CDN}")
