"""The clean tables, made once."""

import pytest

from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks.tables import Tables, make_tables, write_recipe


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def tables(recipe: Recipe) -> Tables:
    return make_tables(recipe)
