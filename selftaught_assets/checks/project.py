"""The checks for Great Expectations alone: a project that runs without this package, and Data Docs.

A project holds the expectations that can be asked of a table as it is stored. What needs columns that a suite adds (the
tables upstream, verdicts read again, a probe) is not in it; its README names each of these rules.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import yaml

from selftaught_assets.checks.results import great_expectations, made
from selftaught_assets.checks.rules import Estimated, Expectation, RowRule, Rule, Suite, Where
from selftaught_assets.checks.suites import IDS, declared_suites, own_suites, read_own_suite
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.files import folder_written_aside, written_aside
from selftaught_assets.storage.layout import Layout

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation as GxExpectation

PLUGIN = "selftaught_expectations"
"""Module of the project that holds what is in expectations.py."""

FROM_CDN = "Its pages load their styles and scripts from public CDNs; without a network they have no styling."


class Exported(NamedTuple):
    """What went into a project."""

    expectations: int
    tables: int
    """Files that it looks at."""
    left_out: int
    """Rules that it does not hold."""


def export_project(folder: Path, recipe: Recipe, layout: Layout) -> Exported:
    """Writes a project of Great Expectations about the tables that a recipe has.

    Args:
        folder: of the project; it must be new or empty.
        recipe: whose suites, with those of the user, are written.
        layout: where its tables lie.

    Raises:
        UserError: the folder holds something, or there is no table yet.
    """
    files = dict(_files(recipe, layout))
    if not files:
        raise UserError(f"Recipe {recipe.name} has no table in {layout.folder} yet: run it first (selftaught run).")
    schemas = {asset: list(pl.read_parquet_schema(path)) for (asset, _), path in files.items()}
    declared = [suite for suite in declared_suites(recipe) if suite.asset in schemas or not suite.is_table]
    asked = {asset: [] for asset in schemas}
    left_out: list[tuple[Suite, Rule]] = []
    for suite in declared:
        for rule in suite.rules:
            expectations = stored_expectations(suite, rule, schemas.get(suite.asset, {}))
            asked.get(suite.asset, []).extend(expectations)
            left_out += [] if expectations else [(suite, rule)]
    with folder_written_aside(folder) as aside:
        count = _write_project(aside, recipe, layout, files, asked)
        plugin = Path(__file__).with_name("expectations.py").read_text(encoding="utf-8")
        (aside / "gx" / "plugins" / f"{PLUGIN}.py").write_text(plugin, encoding="utf-8")
        (aside / "README.md").write_text(_readme(recipe, layout, asked, left_out), encoding="utf-8")
    return Exported(count, len(files), len(left_out))


def stored_expectations(suite: Suite, rule: Rule, schema: Sequence[str]) -> list[dict[str, Any]]:
    """The expectations of a rule, as JSON has them, about the table as it is stored; none if it needs more than that.

    Args:
        suite: of the rule.
        rule: of ours.
        schema: the columns of the stored table.
    """
    if isinstance(rule, Estimated):
        return []
    expectations = rule.expectations if isinstance(rule, RowRule) else (rule.expectation,)
    stored = () if rule.where is None else rule.where.stored
    if stored is None or not {name for name, _ in stored}.union(*(one.columns for one in expectations)) <= set(schema):
        return []
    return [_as_json(suite, rule, one, rule.where) for one in expectations]


def _as_json(suite: Suite, rule: Rule, expectation: Expectation, where: Where | None) -> dict[str, Any]:
    conditions = [_condition(name, value) for name, value in (where.stored if where else ())]
    kwargs = {name: value for name, value in expectation.kwargs.items() if value is not None}
    if conditions:
        both = {"type": "and", "conditions": conditions}
        kwargs["row_condition"] = conditions[0] if len(conditions) == 1 else both
    return {
        "type": expectation.type,
        "kwargs": kwargs,
        "severity": rule.severity,
        "description": rule.claim,
        "meta": {"check": suite.name, "rule": rule.name},
    }


def _condition(column: str, value: object) -> dict[str, Any]:
    if value is None:
        return {"type": "nullity", "column": {"name": column}, "is_null": True}
    return {"type": "comparison", "column": {"name": column}, "operator": "==", "parameter": value}


def _files(recipe: Recipe, layout: Layout) -> Iterator[tuple[tuple[str, str | None], Path]]:
    """The tables that are there, by asset and partition."""
    for asset in IDS:
        for partition in (None, *map(iteration_key, range(1, recipe.iterations + 1))):
            path = layout.table(asset, partition)
            if path.is_file():
                yield (asset, partition), path


def _write_project(
    folder: Path,
    recipe: Recipe,
    layout: Layout,
    files: dict[tuple[str, str | None], Path],
    asked: dict[str, list[dict[str, Any]]],
) -> int:
    gx = great_expectations()
    context = gx.get_context(mode="file", project_root_dir=folder)
    suites = {asset: [context.suites.add(gx.ExpectationSuite(asset, some))] for asset, some in asked.items() if some}
    for own in own_suites(recipe):
        if own.asset in asked:
            suite = gx.ExpectationSuite(f"{own.asset}_{own.name}", _own_expectations(own.asset, recipe))
            suites[own.asset] = [*suites.get(own.asset, ()), context.suites.add(suite)]
    source = context.data_sources.add_pandas_filesystem("tables", base_directory=layout.folder.absolute())
    definitions = []
    for (asset, partition), path in files.items():
        name = asset if partition is None else f"{asset}_{partition}"  # Results are kept apart by it.
        place = path.relative_to(layout.folder).as_posix()
        batch = source.add_parquet_asset(name).add_batch_definition_path("whole", path=place)
        for suite in suites.get(asset, ()):
            definition = gx.ValidationDefinition(name=f"{name} {suite.name}", data=batch, suite=suite)
            definitions.append(context.validation_definitions.add(definition))
    action = gx.checkpoint.UpdateDataDocsAction(name="data_docs", site_names=["local_site"])
    context.checkpoints.add(gx.Checkpoint(name=recipe.name, validation_definitions=definitions, actions=[action]))
    _configure(Path(context.root_directory) / "great_expectations.yml")
    return sum(len(suite.expectations) for some in suites.values() for suite in some)


def _own_expectations(asset: str, recipe: Recipe) -> "list[GxExpectation]":
    """All that is said of them in the user's file, but for the ids of the project that it comes from."""
    field, own = f"`checks.suites.{asset}`", recipe.checks.suites[asset]
    expectations = []
    for one in read_own_suite(field, own)["expectations"]:
        known = {name: value for name, value in one.items() if name not in ("id", "rendered_content")}
        try:
            expectations.append(made(**{"kwargs": {}} | known))
        except UserError as error:
            raise UserError(f"{field}: {own.path}: {error}") from None
    return expectations


def _configure(path: Path) -> None:
    """Nothing is sent, no bars are drawn, and the plugin is loaded with the project."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content |= {"analytics_enabled": False, "progress_bars": {"globally": False}}
    content["stores"]["expectations_store"]["module_name"] = PLUGIN  # So it is imported before any suite is read.
    content["data_docs_sites"]["local_site"]["site_section_builders"] = _section_builders(PLUGIN)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _section_builders(module: str) -> dict[str, Any]:
    """Great Expectations' own, but for what writes texts into pages."""
    stores = {"validations": "validation_results_store", "expectations": "expectations_store"}
    renderers = {"validations": "EscapingResultsRenderer", "expectations": "EscapingSuiteRenderer"}
    return {
        section: {
            "class_name": "DefaultSiteSectionBuilder",
            "source_store_name": stores[section],
            "renderer": {"module_name": module, "class_name": renderer},
        }
        for section, renderer in renderers.items()
    }


def _readme(
    recipe: Recipe, layout: Layout, asked: dict[str, list[dict[str, Any]]], left_out: list[tuple[Suite, Rule]]
) -> str:
    suites = [(asset, len(expectations)) for asset, expectations in asked.items() if expectations]
    suites += [
        (f"{suite.asset}, {suite.name}", len(suite.rules)) for suite in own_suites(recipe) if suite.asset in asked
    ]
    counts = "\n".join(f"| {name} | {number} |" for name, number in suites)
    missing = "\n".join(
        f"| {suite.asset} | `{suite.name}` | {', '.join(f'`{rule.name}`' for _, rule in rules)} |"
        for suite, rules in groupby(sorted(left_out, key=lambda one: (one[0].asset, one[0].name)), key=itemgetter(0))
    )
    return f"""# Checks of {recipe.name} for Great Expectations

A project of Great Expectations about the Parquet files in {layout.folder.absolute()}. It needs great_expectations and
pyarrow, but not selftaught-assets. Run it in this folder:

```python
import great_expectations as gx

context = gx.get_context(mode="file", project_root_dir=".")
result = context.checkpoints.get("{recipe.name}").run()
print(result.describe())
```

Results go to `gx/uncommitted/validations`, pages about them to `gx/uncommitted/data_docs/local_site/index.html`.
{FROM_CDN}

It covers the files that existed when it was written: export it again after another iteration. If the files move,
change `base_directory` in `gx/great_expectations.yml`.

## What is in it

| suite | expectations |
|---|---|
{counts}

`gx/plugins/{PLUGIN}.py` holds the expectations that Great Expectations does not have, and the renderer
that escapes values of the data in its pages.

## What is not in it

These rules need more than the stored table: upstream tables, files, comparisons between texts, verdicts read again,
or a probe. They run only in Dagster.

| asset | check | rules |
|---|---|---|
{missing}
"""


def write_validation(path: Path, name: str, results: "Sequence[ExpectationValidationResult]") -> None:
    """Keeps what Great Expectations found in the checks of one table, as it writes it itself.

    Args:
        path: of the file.
        name: of the partition.
        results: of all its checks.
    """
    found = [result.to_json_dict() for result in results]
    passed = sum(result["success"] for result in found)
    content = {
        "suite_name": path.parent.name,
        "success": passed == len(found),
        "results": found,
        "suite_parameters": {},
        "statistics": {
            "evaluated_expectations": len(found),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(found) - passed,
            "success_percent": 100 * passed / len(found) if found else None,
        },
        "meta": {"run_id": {"run_name": name, "run_time": datetime.now(UTC).isoformat()}},
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content), encoding="utf-8")


def build_docs(layout: Layout) -> Path:
    """Builds Data Docs of what the newest checks of each table found.

    Returns:
        Their first page.

    Raises:
        UserError: no table was checked yet, or what was found is damaged.
    """
    paths = sorted(layout.validations.glob("*/*.json"))
    if not paths:
        raise UserError(f"No checks of recipe {layout.recipe} are on record yet: run it first (selftaught run).")
    gx = great_expectations()
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    for path in paths:
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): run the checks of this table again.") from None
        key = ValidationResultIdentifier(
            ExpectationSuiteIdentifier(content["suite_name"]),
            RunIdentifier(**content["meta"]["run_id"]),
            path.stem,
        )
        context.validation_results_store.set(key, expectationSuiteValidationResultSchema.load(content))
    shutil.rmtree(layout.data_docs, ignore_errors=True)
    with folder_written_aside(layout.data_docs) as aside:
        site = {
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(aside)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
            "site_section_builders": _section_builders("selftaught_assets.checks.expectations"),
            "show_how_to_buttons": False,
        }
        context.add_data_docs_site("checks", site)
        context.build_data_docs(site_names=["checks"])
    return layout.data_docs / "index.html"
