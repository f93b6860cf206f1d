"""Which recipe file a data folder belongs to."""

import shutil
from pathlib import Path

import pytest
import yaml

from selftaught_assets.errors import UserError
from selftaught_assets.recipe import RECIPES_FOLDER, Recipe, load_recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.ownership import claim
from selftaught_assets_tests.conftest import write_small_recipe


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a recipe, whose data folder it owns."""
    (tmp_path / "project").mkdir()
    write_small_recipe(tmp_path / "project")
    claimed(tmp_path / "project" / "small.yaml", tmp_path / "project" / "data")
    return tmp_path / "project"


def claimed(recipe: Path, data: Path) -> None:
    loaded = load_recipe(str(recipe))
    claim(loaded, Layout.of(loaded, data))


def refused(recipe: Path, data: Path) -> str:
    with pytest.raises(UserError) as said:
        claimed(recipe, data)
    return str(said.value)


def second(project: Path, file: str = "second.yaml", **changed: object) -> Path:
    """Another recipe file in a project, with some sections replaced."""
    content = yaml.safe_load((project / "small.yaml").read_text()) | changed
    (project / file).write_text(yaml.safe_dump(content))
    return project / file


def test_a_second_recipe_of_the_name_is_refused_with_both_files_and_what_to_do(project: Path) -> None:
    other = second(project, training={"learning_rate": 3e-3})
    said = refused(other, project / "data")
    assert said.startswith(
        f"The tables in {project / 'data' / 'small'} are those of the recipe {project / 'small.yaml'}, and {other} "
        "has the same name and another `training`: give it another `name`"
    )
    assert f"delete {project / 'data' / 'small' / 'owner.json'}" in said


def test_the_same_recipe_on_another_pool_is_refused(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    lines = (copy / "pool.jsonl").read_text().splitlines(keepends=True)
    (copy / "pool.jsonl").write_text("".join(lines[:-1]))
    assert "another `pool`" in refused(copy / "small.yaml", project / "data")


def test_a_recipe_that_says_the_same_may_work_there_as_long_as_it_does(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    claimed(copy / "small.yaml", project / "data")
    second(copy, "small.yaml", seed=8)
    assert "another `seed`" in refused(copy / "small.yaml", project / "data")


def test_a_recipe_that_changes_goes_on(project: Path) -> None:
    second(project, "small.yaml", training={"learning_rate": 3e-3})
    claimed(project / "small.yaml", project / "data")


@pytest.mark.parametrize("put", [shutil.copytree, shutil.move], ids=["copied", "moved"])
def test_a_project_that_was_put_elsewhere_and_changes_goes_on(project: Path, tmp_path: Path, put: object) -> None:
    elsewhere = Path(put(project, tmp_path / "elsewhere"))
    second(elsewhere, "small.yaml", training={"learning_rate": 3e-3})
    claimed(elsewhere / "small.yaml", elsewhere / "data")


def test_data_that_was_put_elsewhere_goes_on(project: Path, tmp_path: Path) -> None:
    claimed(project / "small.yaml", shutil.copytree(project / "data", tmp_path / "elsewhere"))


def test_a_copy_of_the_data_is_free_for_another_recipe(project: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(project / "data", tmp_path / "elsewhere")
    claimed(second(project, training={"learning_rate": 3e-3}), copied)
    assert "another `training`" in refused(project / "small.yaml", copied)


def test_a_recipe_file_that_was_given_another_name_and_changes_goes_on(project: Path) -> None:
    other = second(project, training={"learning_rate": 3e-3})
    (project / "small.yaml").unlink()
    claimed(other, project / "data")


def test_where_the_owner_took_another_name_the_second_one_goes_on(project: Path) -> None:
    other = second(project, training={"learning_rate": 3e-3})
    second(project, "small.yaml", name="smaller")
    claimed(other, project / "data")


def test_an_owner_that_cannot_be_read_keeps_its_tables(project: Path) -> None:
    other = second(project)
    (project / "small.yaml").write_text("name: [")
    assert "cannot be compared with it" in refused(other, project / "data")


def test_ones_own_recipe_comes_before_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    claimed(RECIPES_FOLDER / "demo.yaml", tmp_path)
    write_small_recipe(tmp_path, name="demo")
    claimed(tmp_path / "small.yaml", tmp_path)
    assert "another `" in refused(RECIPES_FOLDER / "demo.yaml", tmp_path)


def test_who_deletes_the_file_lets_the_second_one_go_on(project: Path) -> None:
    other = second(project, training={"learning_rate": 3e-3})
    (project / "data" / "small" / "owner.json").unlink()
    claimed(other, project / "data")


def test_a_recipe_made_in_python_owns_nothing(project: Path) -> None:
    recipe = load_recipe(str(project / "small.yaml"))
    made = Recipe.model_validate(recipe.model_dump(exclude={"templates"}))
    claim(made, Layout.of(made, project / "other"))
    assert not (project / "other").exists()
