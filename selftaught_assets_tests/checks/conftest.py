"""The clean tables and files, made once."""

import pytest

from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks.tables import Tables, write_recipe
from selftaught_assets_tests.checks.world import World, make_world


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def world(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(recipe, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def tables(world: World) -> Tables:
    return world.tables
