"""The recipe: everything that a user can choose, typed, validated, loaded from one YAML file.

Paths in a recipe are relative to the recipe's own file.
"""

from selftaught_assets.recipe.loading import RECIPES_FOLDER, engine_settings, load_recipe
from selftaught_assets.recipe.recipe import PROMPTS_FOLDER, Recipe

__all__ = ["PROMPTS_FOLDER", "RECIPES_FOLDER", "Recipe", "engine_settings", "load_recipe"]
