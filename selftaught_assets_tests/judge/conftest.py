"""Real judges: the seed model, and a checkpoint of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from selftaught_assets.judge import Judge
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.conftest import ROOT, SMALL, write_small_recipe
from selftaught_assets_tests.judge.tiny_judges import write_checkpoint


class Workplace(NamedTuple):
    """A recipe, its data folder with a checkpoint of iteration_03, and no other."""

    recipe_path: Path
    recipe: Recipe
    data: Path
    checkpoint: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.data, self.recipe.name)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("workplace")
    prompts = shutil.copytree(SMALL["prompts"], folder / "prompts")
    (prompts / "score.jinja").write_text("Rate: {{ instruction }}\nA: {{ response }}", encoding="utf-8")
    path = write_small_recipe(folder, prompts=str(prompts))
    recipe = load_recipe(str(path))
    layout = Layout(folder / "data", recipe.name)
    checkpoint = write_checkpoint(layout.checkpoints("iteration_03") / "one", recipe)
    return Workplace(path, recipe, folder / "data", checkpoint)


@pytest.fixture(scope="session")
def seed_judge(workplace: Workplace) -> Iterator[Judge]:
    with Judge.load("seed", str(workplace.recipe_path), data=workplace.data) as judge:
        yield judge


@pytest.fixture(scope="session")
def trained_judge(workplace: Workplace) -> Iterator[Judge]:
    with Judge.load("iteration_03", str(workplace.recipe_path), data=workplace.data) as judge:
        yield judge


@pytest.fixture(scope="session")
def pairs() -> pl.DataFrame:
    """Pairs of the demo's benchmark."""
    lines = (ROOT / "recipes" / "tinyworld" / "benchmark.jsonl").read_text(encoding="utf-8").split("\n")[:36]
    return pl.DataFrame([json.loads(line) for line in lines])
