"""Assembles the graph: the recipes that are named become families of assets in one code location."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from upath import UPath

from selftaught_assets.assets.checks import build_checks
from selftaught_assets.assets.evaluation import build_evaluation, build_seed_evaluation
from selftaught_assets.assets.family import UNPARTITIONED, Family
from selftaught_assets.assets.io_manager import TableIOManager
from selftaught_assets.assets.iteration import (
    build_checkpoint,
    build_filtered_set,
    build_instructions,
    build_judge,
    build_judgments,
    build_pairs_asset,
)
from selftaught_assets.assets.progress import build_progress
from selftaught_assets.assets.report import build_report
from selftaught_assets.assets.sources import build_benchmarks, build_instruction_pool, build_seed_model
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.storage.layout import Layout, default_data_root

DEFAULT_RECIPES = "demo"

ASSETS = (
    build_instruction_pool,
    build_seed_model,
    build_benchmarks,
    build_instructions,
    build_pairs_asset,
    build_judge,
    build_judgments,
    build_filtered_set,
    build_checkpoint,
    build_seed_evaluation,
    build_evaluation,
    build_progress,
    build_report,
)

PRELOADED = ["selftaught_assets.preload"]
"""Imported by the process that all steps of a run are forked from."""

EXECUTOR = dg.multiprocess_executor.configured(
    {"max_concurrent": 1, "start_method": {"forkserver": {"preload_modules": PRELOADED}}}
)
"""One step at a time, each in a process that ends: sampling and training never hold a device together."""


def build_definitions(
    recipes: Sequence[Recipe], *, data: Path | None = None, executor: dg.ExecutorDefinition = EXECUTOR
) -> dg.Definitions:
    """The code location: one family of assets for each recipe.

    Args:
        recipes: their names must differ.
        data: the folder of all tables and checkpoints; `SELFTAUGHT_DATA` or ./data by default.
        executor: how the steps of a run are executed.

    Raises:
        UserError: two recipes have the same name.
    """
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise UserError(
            f"Recipe names must differ, but these were given: {', '.join(names)}; correct SELFTAUGHT_RECIPES, or "
            "`name` in a recipe."
        )
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)  # Partitioned checks; the version is pinned.
    root = data or default_data_root()
    families = [Family(recipe, Layout.of(recipe, root)) for recipe in recipes]
    return dg.Definitions(
        jobs=[job for family in families for job in _jobs(family)],
        assets=[build(family) for family in families for build in ASSETS],
        asset_checks=[check for family in families for check in build_checks(family)],
        sensors=[_roll_on(family) for family in families],
        resources={"tables": TableIOManager(base_path=UPath(root)), "pipes": dg.PipesSubprocessClient()},
        executor=executor,
    )


def resolve_job(recipe: str, name: str) -> dg.JobDefinition:
    """The job `<recipe>_<name>` of one recipe, for processes that are given only the names.

    Args:
        recipe: as `load_recipe` takes it.
        name: prepare, iteration or progress.
    """
    loaded = load_recipe(recipe)
    return build_definitions([loaded]).resolve_job_def(job_name(loaded, name))


def job_name(recipe: Recipe, name: str) -> str:
    """The name of a recipe's job in Dagster."""
    return f"{recipe.name}_{name}"


def _jobs(family: Family) -> list[Any]:
    unpartitioned = dg.AssetSelection.assets(*(family.key(name) for name in UNPARTITIONED))
    iteration = dg.AssetSelection.key_prefixes(family.recipe.name) - unpartitioned
    progress = dg.AssetSelection.assets(*(family.key(name) for name in ("progress", "report")))
    jobs = {
        "prepare": (unpartitioned - progress, "Reads pool, seed model and benchmarks, and measures the seed model."),
        "iteration": (iteration, "One iteration, from instructions to the evaluated checkpoint."),
        "progress": (progress, "The learning curve of all iterations so far, and the report."),
    }
    return [
        dg.define_asset_job(job_name(family.recipe, name), selection, description=description)
        for name, (selection, description) in jobs.items()
    ]


def _roll_on(family: Family) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        f"{family.recipe.name}_roll_on",
        target=dg.AssetSelection.key_prefixes(family.recipe.name),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Switch on to let every stage follow its upstream at once, iteration after iteration to the last.",
    )


def _recipes_of_environment() -> list[Recipe]:
    names = os.environ.get("SELFTAUGHT_RECIPES") or DEFAULT_RECIPES
    return [load_recipe(name.strip()) for name in names.split(",") if name.strip()]


@dg.definitions
def defs() -> dg.Definitions:
    """The recipes that `SELFTAUGHT_RECIPES` names, separated by commas; the demo by default."""
    return build_definitions(_recipes_of_environment())
