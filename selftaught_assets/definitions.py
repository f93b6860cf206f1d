"""Assembles the graph: the recipes that are named become families of assets in one code location."""

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from selftaught_assets.component import SelfTaughtEvaluator
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from selftaught_assets.runs import EXECUTOR


def build_definitions(
    recipes: Sequence[Recipe], *, data: Path | None = None, executor: dg.ExecutorDefinition = EXECUTOR
) -> dg.Definitions:
    """One family of assets for each recipe, by the same component that other projects use.

    They merge with other definitions: what a location has one of, such as its executor, is left to these.

    Args:
        recipes: their key prefixes must differ.
        data: the folder of all tables and checkpoints; `SELFTAUGHT_DATA` or ./data by default.
        executor: how the steps of their jobs are executed.

    Raises:
        UserError: two recipes have the same key prefix.
    """
    prefixes = ["/".join(recipe.key_prefix) for recipe in recipes]
    if len(set(prefixes)) < len(prefixes):
        raise UserError(
            f"Recipe names must differ, but these were given: {', '.join(prefixes)}; correct SELFTAUGHT_RECIPES, or "
            "`name` in a recipe."
        )
    components = [SelfTaughtEvaluator(recipe, data=data, executor=executor) for recipe in recipes]
    return dg.Definitions.merge(*(component.build_defs() for component in components))


def resolve_job(recipe: str, name: str) -> dg.JobDefinition:
    """The job of one recipe, for processes that are given only the names.

    Args:
        recipe: as `load_recipe` takes it.
        name: prepare, iteration or progress.
    """
    loaded = load_recipe(recipe)
    return build_definitions([loaded]).resolve_job_def(loaded.dagster_name(name))


def _recipes_of_environment() -> list[Recipe]:
    names = os.environ.get("SELFTAUGHT_RECIPES") or DEFAULT_RECIPE
    return [load_recipe(name.strip()) for name in names.split(",") if name.strip()]


@dg.definitions
def defs() -> dg.Definitions:
    """The code location: recipes that `SELFTAUGHT_RECIPES` names, separated by commas; the demo by default."""
    return dg.Definitions.merge(dg.Definitions(executor=EXECUTOR), build_definitions(_recipes_of_environment()))
