"""All suites of a recipe: those of each asset, its account of rows, and the user's own.

One module for each asset declares what has to hold before the next stage may use it, with thresholds of the recipe. A
user's own suite is a JSON file of Great Expectations: its expectations are applied as they stand there.
"""

import codecs
import re
from collections import Counter
from typing import Any

from selftaught_assets.checks.accounts import rows_accounted
from selftaught_assets.checks.rules import Expectation, Given, Suite
from selftaught_assets.checks.suites.evaluation import benchmark_suites, evaluation_suites
from selftaught_assets.checks.suites.filtered_set import filtered_set_suites
from selftaught_assets.checks.suites.instructions import instruction_suites
from selftaught_assets.checks.suites.judgments import judgment_suites
from selftaught_assets.checks.suites.models import checkpoint_suites, judge_suites
from selftaught_assets.checks.suites.pairs import pair_suites
from selftaught_assets.errors import UserError
from selftaught_assets.input_files import content_of
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.checks import OwnSuite
from selftaught_assets.storage.inputs import json_value

DECLARATIONS = (
    benchmark_suites,
    instruction_suites,
    pair_suites,
    judge_suites,
    judgment_suites,
    filtered_set_suites,
    checkpoint_suites,
    evaluation_suites,
)

IDS = {
    "instruction_pool": ("line", "instruction_id"),
    "benchmarks": ("item_id", "benchmark"),
    "instructions": ("line", "instruction_id"),
    "pairs": ("pair_id", "instruction_id"),
    "judgments": ("judgment_id", "pair_id"),
    "filtered_set": ("example_id", "judgment_id"),
    "evaluation": ("item_id", "benchmark", "order", "decoding"),
    "seed_evaluation": ("item_id", "benchmark", "order", "decoding"),
}
"""Columns by which a row is shown where an expectation of a user's suite finds it at fault."""

SEVERITIES = ("critical", "warning", "info")
"""Those of Great Expectations, which takes an expectation without one for critical."""


def suites_of(recipe: Recipe) -> list[Suite]:
    """All checks of a recipe's assets, each of one severity.

    Raises:
        UserError: a suite of the user's cannot be read, or has the name of another check of its asset.
    """
    declared = [*declared_suites(recipe), *own_suites(recipe)]
    checks = [check for suite in declared for check in suite.by_severity()]
    for (asset, name), number in Counter((check.asset, check.name) for check in checks).items():
        if number > 1:
            raise UserError(
                f"Recipe {recipe.name}: `checks.suites.{asset}` is a suite with the name of an existing "
                f"check, {name}: give the suite another name."
            )
    return checks


def declared_suites(recipe: Recipe) -> list[Suite]:
    """All suites but the user's own."""
    return [*(suite for suites in DECLARATIONS for suite in suites(recipe)), *rows_accounted(recipe)]


def own_suites(recipe: Recipe) -> list[Suite]:
    """The suites that the recipe names.

    An expectation with the severity `warning` or `info` only shows, as do all of a suite that is not `blocking`.

    Raises:
        UserError: a file is absent, or is no suite.
    """
    return [
        _own_suite(f"Recipe {recipe.name}: `checks.suites.{asset}`", asset, own)
        for asset, own in recipe.checks.suites.items()
    ]


def _own_suite(field: str, asset: str, own: OwnSuite) -> Suite:
    content = read_own_suite(field, own)
    names: Counter[str] = Counter()
    rules = []
    for one in content["expectations"]:
        expectation = Expectation(one["type"], one.get("kwargs", {}))
        name = expectation.type + (f"({', '.join(expectation.columns)})" if expectation.columns else "")
        names[name] += 1
        warns = not own.blocking or one.get("severity", "critical") != "critical"
        repeated = f" {names[name]}" if names[name] > 1 else ""
        severity = "warning" if warns else "critical"
        rules.append(Given(name + repeated, expectation, severity, one.get("description")))
    return Suite(
        asset=asset,
        name=re.sub(r"\W", "_", content["name"], flags=re.ASCII),
        purpose=f"The suite {content['name']} of {own.path.name}.",
        rules=tuple(rules),
        rows=lambda subject: subject.tables[asset],
        shown=IDS[asset],
    )


def read_own_suite(field: str, own: OwnSuite) -> dict[str, Any]:
    """What a file holds, as far as it can be told without Great Expectations, which takes seconds to import.

    Raises:
        UserError: it is absent, no JSON, or no suite.
    """
    try:
        content = json_value(content_of(own.path).removeprefix(codecs.BOM_UTF8))
    except UserError as error:
        raise UserError(f"{field}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{field}: {own.path} is not a JSON file ({error}).") from None
    name, expectations = (content.get(part) if isinstance(content, dict) else None for part in ("name", "expectations"))
    if not isinstance(name, str) or not name.strip() or not isinstance(expectations, list) or not expectations:
        raise UserError(
            f"{field}: {own.path} is not a Great Expectations suite, which has a `name` and a list of `expectations`."
        )
    for number, one in enumerate(expectations, 1):
        is_one = isinstance(one, dict) and isinstance(one.get("type"), str)
        if not is_one or not isinstance(one.get("kwargs", {}), dict):
            raise UserError(f"{field}: expectation {number} of {own.path} lacks a `type` with `kwargs`.")
        if (severity := one.get("severity", "critical")) not in SEVERITIES:
            raise UserError(
                f"{field}: expectation {number} of {own.path} has the severity {severity!r}, which is none of "
                f"{', '.join(SEVERITIES)}."
            )
    return content
