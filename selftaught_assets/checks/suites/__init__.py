"""The suites of each asset: what has to hold before the next stage may use it.

Belongs here: declarations, one module for each asset, each with `suites(recipe)`; examples.py is a part of
filtered_set.py. Thresholds come from the recipe. Not here: the account of rows, which every table has (accounts.py),
and how anything is measured (method/).
"""

from selftaught_assets.checks.accounts import rows_accounted
from selftaught_assets.checks.rules import Suite
from selftaught_assets.checks.suites import (
    benchmarks,
    checkpoint,
    evaluation,
    filtered_set,
    instructions,
    judge,
    judgments,
    pairs,
)
from selftaught_assets.recipe import Recipe

MODULES = (benchmarks, instructions, pairs, judge, judgments, filtered_set, checkpoint, evaluation)


def suites_of(recipe: Recipe) -> list[Suite]:
    """All checks of a recipe's assets, each of one severity."""
    declared = [*(suite for module in MODULES for suite in module.suites(recipe)), *rows_accounted(recipe)]
    return [check for suite in declared for check in suite.by_severity()]
