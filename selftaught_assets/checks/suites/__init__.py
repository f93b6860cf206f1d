"""The suites of each asset: what has to hold before the next stage may use it.

Belongs here: declarations, one module for each asset, each with `suites(recipe)`; examples.py is a part of
filtered_set.py. Thresholds come from the recipe. Not here: the account of rows, which every table has (accounts.py),
and how anything is measured (method/).
"""

from selftaught_assets.checks.accounts import rows_accounted
from selftaught_assets.checks.rules import Suite
from selftaught_assets.checks.suites.evaluation import benchmark_suites, evaluation_suites
from selftaught_assets.checks.suites.filtered_set import filtered_set_suites
from selftaught_assets.checks.suites.instructions import instruction_suites
from selftaught_assets.checks.suites.judgments import judgment_suites
from selftaught_assets.checks.suites.models import checkpoint_suites, judge_suites
from selftaught_assets.checks.suites.pairs import pair_suites
from selftaught_assets.recipe import Recipe

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


def suites_of(recipe: Recipe) -> list[Suite]:
    """All checks of a recipe's assets, each of one severity."""
    declared = [*(suite for suites in DECLARATIONS for suite in suites(recipe)), *rows_accounted(recipe)]
    return [check for suite in declared for check in suite.by_severity()]
