"""The small recipe, really run: its first iteration, and two, once for all tests that look at them or go on from there.

A test that changes anything takes a copy. The copy is a loop of its own, in its own folder, with the same history.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

if TYPE_CHECKING:
    from selftaught_assets_tests.assets.loop import Loop

TRAINED = {
    "iterations": 2,
    "evaluation": SMALL["evaluation"] | {"attacks": ["plea"]},
    "filter": SMALL["filter"] | {"validation_share": 0.3},
}
"""Sections of the recipe, so that every part of a report has something to show."""
FIRST, SECOND = "iteration_01", "iteration_02"


@pytest.fixture(scope="session")
def _loop(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Loop]":
    """The loop that trains, after its first iteration."""
    from selftaught_assets_tests.assets.loop import open_loop

    folder = tmp_path_factory.mktemp("trained")
    recipe = load_recipe(str(write_small_recipe(folder, **TRAINED)))
    with open_loop(recipe, folder) as loop:
        loop.run("prepare")
        loop.run("iteration", FIRST)
        yield loop


@pytest.fixture(scope="session")
def first_iteration(_loop: "Loop", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Loop]":
    """A loop whose first iteration is done. Nobody changes it."""
    from selftaught_assets_tests.assets.loop import copy_of

    with copy_of(_loop, tmp_path_factory.mktemp("first")) as copied:
        yield copied


@pytest.fixture(scope="session")
def two_iterations(_loop: "Loop", first_iteration: "Loop") -> "Loop":
    """A loop whose second and last iteration is done, with its report. Nobody changes it."""
    _loop.run("iteration", SECOND)
    _loop.run("progress")
    return _loop
