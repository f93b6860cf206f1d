from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.recipe import RECIPES_FOLDER, load_recipe
from selftaught_assets_tests.conftest import ROOT, write_small_recipe


@pytest.mark.parametrize("path", sorted(RECIPES_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(str(path)).name


def test_paths_are_relative_to_the_recipe(small_recipe, tmp_path: Path) -> None:
    assert small_recipe().pool.path == tmp_path / "pool.jsonl"


def test_code_version_changes_with_its_section_only(small_recipe) -> None:
    before, after = small_recipe(), small_recipe(judgments={"n": 5})
    assert before.version("judgments") != after.version("judgments")
    assert before.version("training") == after.version("training")


def test_code_version_changes_with_the_text_of_a_prompt(small_recipe, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for template in small_recipe().prompts.glob("*.jinja"):
        (prompts / template.name).write_text(template.read_text() + "\n")
    before = small_recipe(prompts=str(prompts)).version("judgments", "prompts")
    (prompts / "judge.jinja").write_text((prompts / "judge.jinja").read_text() + "Be brief.\n")
    assert small_recipe(prompts=str(prompts)).version("judgments", "prompts") != before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"judgements": {"n": 3}}, "unknown field `judgements`"),
        ({"judgments": {"m": 3}}, "unknown field `judgments.m`"),
        ({"judgments": {"n": 0}}, "`judgments.n` is 0: input should be greater than or equal to 1"),
        ({"engine": {"name": "abacus"}}, "`engine.name` is 'abacus'"),
        ({"pool": {}}, "field `pool.path` is missing"),
        ({"pool": {"path": "nowhere.jsonl"}}, "`pool.path` names"),
        ({"seed_model": "nowhere"}, "`seed_model` names"),
        ({"name": "Not A Name"}, "`name` is 'Not A Name'"),
        ({"evaluation": {"sampling": {"temperature": -1}}}, "`evaluation.sampling.temperature` is -1"),
        ({"benchmarks": [{"name": "a", "path": "benchmark.jsonl"}] * 2}, "two benchmarks have the same name"),
        (
            {"training": {"start_from": "previous"}, "judgments": {"first_annotator": str(ROOT / "models" / "seed")}},
            "training.start_from: previous cannot continue a judgments.first_annotator",
        ),
    ],
)
def test_impossible_recipe_gets_one_sentence(tmp_path: Path, overrides: dict, sentence: str) -> None:
    path = write_small_recipe(tmp_path, **overrides)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(UserError, match=r"no recipe 'nothing'.*demo"):
        load_recipe("nothing")


@pytest.mark.parametrize("text", ["a: [1", "- just\n- a list", "\x00", ""])
def test_recipe_that_is_not_a_mapping_gets_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_missing_prompt_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    path = write_small_recipe(tmp_path, prompts="prompts")
    with pytest.raises(UserError, match=r"response\.jinja does not exist"):
        load_recipe(str(path))
