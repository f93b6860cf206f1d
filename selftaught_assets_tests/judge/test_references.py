import json
import shutil
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.judge import Judge
from selftaught_assets.judge.references import DESCRIPTION, find_judge, judge_in_folder
from selftaught_assets.method.scoring.comparison import Outcome
from selftaught_assets.recipe.stages import PromotionSettings
from selftaught_assets.staleness import basis_of
from selftaught_assets.storage.checkpoints import (
    Promotion,
    read_manifest,
    reference_checkpoint,
    write_current,
    write_promotion,
)
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import reference_model
from selftaught_assets_tests.judge.conftest import Workplace

LAST = "iteration_03"


def test_seed_is_the_recipes_seed_model(workplace: Workplace) -> None:
    found = find_judge("seed", workplace.recipe, workplace.layout)
    assert (found.name, found.model.base, found.model.adapter) == ("seed", workplace.recipe.seed_model, None)


def test_an_iteration_is_the_checkpoint_that_its_file_names_whatever_the_times(
    workplace: Workplace, tmp_path: Path
) -> None:
    layout = Layout(tmp_path, "small")
    for name in ("newest", "current", "oldest"):
        folder = shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / name)
    model = reference_checkpoint(folder.with_name("current"), reference_model(workplace.recipe.seed_model))
    write_current(layout.current_checkpoint(LAST), model, basis_of(workplace.recipe, "checkpoint"))
    for root in (tmp_path, shutil.copytree(tmp_path / "small", tmp_path / "copy" / "small").parent):
        found = find_judge(LAST, workplace.recipe, Layout(root, "small"))
        assert found.model.adapter == Layout(root, "small").checkpoints(LAST) / "current"


def test_several_checkpoints_of_which_no_file_names_one_are_refused_in_a_sentence(
    workplace: Workplace, tmp_path: Path
) -> None:
    """As versions that went by the time stamp left them."""
    layout = Layout(tmp_path, "small")
    shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / "one")
    assert find_judge(LAST, workplace.recipe, layout).model.adapter == layout.checkpoints(LAST) / "one"
    shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / "another")
    with pytest.raises(UserError, match=r"holds 2 checkpoints and no current\.json"):
        find_judge(LAST, workplace.recipe, layout)


def test_current_checkpoint_that_was_not_copied_is_missed_whatever_else_there_is(
    workplace: Workplace, tmp_path: Path
) -> None:
    layout = Layout(tmp_path, "small")
    for name in ("current", "other"):
        folder = shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / name)
    model = reference_checkpoint(folder.with_name("current"), reference_model(workplace.recipe.seed_model))
    write_current(layout.current_checkpoint(LAST), model, basis_of(workplace.recipe, "checkpoint"))
    (folder.with_name("current") / "manifest.json").unlink()
    with pytest.raises(UserError, match="is missing or incomplete"):
        find_judge(LAST, workplace.recipe, layout)


def test_unfinished_checkpoints_do_not_count(workplace: Workplace, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / "one")
    unfinished = shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / "unfinished")
    (unfinished / "manifest.json").write_text("{}")
    shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / ".one.7.partial")
    assert find_judge(LAST, workplace.recipe, layout).model.adapter == layout.checkpoints(LAST) / "one"


def test_newest_is_the_last_iteration_that_has_a_judge(workplace: Workplace) -> None:
    recipe = workplace.recipe.model_copy(update={"iterations": 5})
    assert find_judge("newest", recipe, workplace.layout).name == LAST


def test_refused_checkpoint_is_passed_over_and_not_served_in_silence(workplace: Workplace, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    promotion = PromotionSettings(rule="better", validation="tiny")
    recipe = workplace.recipe.model_copy(update={"iterations": 3, "promotion": promotion})
    for key in ("iteration_02", LAST):
        folder = shutil.copytree(workplace.checkpoint, layout.checkpoints(key) / "one")
        outcome = Outcome.REFUSED if key == LAST else Outcome.PROMOTED
        write_promotion(layout.promotions(key), decided(read_manifest(folder).digest, outcome))
    assert find_judge("newest", recipe, layout).name == "iteration_02"
    assert find_judge("newest", recipe, layout).caution is None
    caution = find_judge(LAST, recipe, layout).caution
    assert caution == (
        "The checkpoint of iteration_03 was not promoted (refused): on the benchmark tiny it gained 1 and lost 3 of 24 "
        "verdicts."
    )


def decided(digest: str, outcome: Outcome) -> Promotion:
    figures = {"n": 24, "gained": 1, "lost": 3, "p_value": 0.01, "flat": 0}
    rule = {"rule": "better", "alpha": 0.05, "stop_when_flat": None}
    return Promotion(checkpoint=digest, in_office="0", benchmark="tiny", outcome=outcome, **rule, **figures)


def test_stale_checkpoint_is_served_with_a_word_about_it(workplace: Workplace, tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    folder = shutil.copytree(workplace.checkpoint, layout.checkpoints(LAST) / "one")
    model = reference_checkpoint(folder, reference_model(workplace.recipe.seed_model))
    write_current(layout.current_checkpoint(LAST), model, basis_of(workplace.recipe, "checkpoint"))
    assert find_judge(LAST, workplace.recipe, layout).caution is None
    training = workplace.recipe.training.model_copy(update={"learning_rate": 7.0})
    changed = workplace.recipe.model_copy(update={"training": training})
    assert find_judge(LAST, changed, layout).caution == (
        "The checkpoint of iteration_03 is stale: the recipe changed for checkpoint (`training`)."
    )


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


def test_an_exported_folder_cannot_choose_where_its_completions_are_written(tmp_path: Path) -> None:
    said = {"judge": "seed", "recipe": "../../elsewhere", "digest": "", "base_digest": "", "seed": 1}
    said |= {"verdicts": {}, "evaluation": {}}
    (tmp_path / DESCRIPTION).write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(UserError, match=r"judge\.json is damaged \(recipe: "):
        judge_in_folder(tmp_path)


def test_a_path_is_a_folder_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("newest").mkdir()
    with pytest.raises(UserError, match=r"newest/config\.json does not exist"):
        Judge.load(Path("newest"))
