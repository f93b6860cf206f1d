import json
import os
import shutil
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.judge.references import find_judge
from selftaught_assets.storage.checkpoints import newest_checkpoint, read_manifest
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.judge.conftest import Workplace


def test_seed_is_the_recipes_seed_model(workplace: Workplace) -> None:
    found = find_judge("seed", workplace.recipe, workplace.layout)
    assert (found.name, found.model.base, found.model.adapter) == ("seed", workplace.recipe.seed_model, None)


def test_an_iteration_is_its_newest_finished_checkpoint(workplace: Workplace, tmp_path: Path) -> None:
    checkpoints = Layout(tmp_path, "small").checkpoints("iteration_03")
    for age, name in enumerate(("newest", "older", "oldest")):
        shutil.copytree(workplace.checkpoint, checkpoints / name)
        os.utime(checkpoints / name / "manifest.json", (1e9 - age, 1e9 - age))
    unfinished = shutil.copytree(workplace.checkpoint, checkpoints / "unfinished")
    (unfinished / "manifest.json").write_text("{}")
    shutil.copytree(workplace.checkpoint, checkpoints / ".one.7.partial")
    found = find_judge("iteration_03", workplace.recipe, Layout(tmp_path, "small"))
    assert found.model.adapter == checkpoints / "newest"
    assert found.model.digest == read_manifest(workplace.checkpoint).digest


def test_a_checkpoint_that_training_uses_again_is_the_newest_again(workplace: Workplace, tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        shutil.copytree(workplace.checkpoint, tmp_path / name)
        os.utime(tmp_path / name / "manifest.json", (1e9 - age, 1e9 - age))
    assert newest_checkpoint(tmp_path) == tmp_path / "new"
    (tmp_path / "old" / "manifest.json").touch()
    assert newest_checkpoint(tmp_path) == tmp_path / "old"


def test_a_checkpoint_is_found_by_its_path(workplace: Workplace) -> None:
    found = find_judge(str(workplace.checkpoint), workplace.recipe, workplace.layout)
    assert (found.name, found.model.adapter) == ("one", workplace.checkpoint)


def test_an_adapter_without_a_manifest_stands_on_the_base_that_it_names_or_else_on_the_seed(
    workplace: Workplace, tmp_path: Path
) -> None:
    adapter = shutil.copytree(workplace.checkpoint, tmp_path / "adapter")
    (adapter / "manifest.json").unlink()
    named = find_judge(str(adapter), workplace.recipe, workplace.layout)
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert str(named.model.base) == config["base_model_name_or_path"]
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "org/gone"}))
    unnamed = find_judge(str(adapter), workplace.recipe, workplace.layout)
    assert unnamed.model.base == workplace.recipe.seed_model
    assert unnamed.model.digest == named.model.digest == read_manifest(workplace.checkpoint).digest


def test_a_model_folder_is_a_judge(workplace: Workplace) -> None:
    folder = workplace.recipe.seed_model
    seed = find_judge("seed", workplace.recipe, workplace.layout)
    assert find_judge(str(folder), workplace.recipe, workplace.layout).model.digest == seed.model.digest


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("iteration_02", "Recipe small has no finished checkpoint of iteration_02"),
        ("nobody", "There is no judge 'nobody'"),
        ("iteration_3", "There is no judge 'iteration_3'"),
        ("/", "config.json does not exist"),
    ],
)
def test_whatever_is_no_judge_is_refused_in_a_sentence(workplace: Workplace, what: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_judge(what, workplace.recipe, workplace.layout)
