"""The recipe: everything that a user can choose, typed, validated, loaded from one YAML file.

Paths in a recipe are relative to the recipe's own file.
"""

from selftaught_assets.recipe.loading import (
    DEFAULT_RECIPE,
    RECIPES_FOLDER,
    engine_settings,
    load_recipe,
    recipe_of_component,
    shipped_project,
)
from selftaught_assets.recipe.recipe import PROMPTS_FOLDER, JudgeSettings, Recipe

__all__ = [
    "DEFAULT_RECIPE",
    "PROMPTS_FOLDER",
    "RECIPES_FOLDER",
    "JudgeSettings",
    "Recipe",
    "engine_settings",
    "load_recipe",
    "recipe_of_component",
    "shipped_project",
]
