"""What makes a result stale: content and code, never names, paths or times."""

import json
import os
import shutil
from pathlib import Path

import pytest

from selftaught_assets import staleness
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.staleness import STAGES, Basis, basis_of, why_stale
from selftaught_assets_tests.conftest import write_small_recipe

SETTINGS = {"pairs": "a", "seed": "b"}


def versions(recipe: Recipe) -> dict[str, str]:
    return {stage: basis_of(recipe, stage).code_version for stage in STAGES}


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A recipe whose pool, benchmark, prompts and seed model lie in one folder with it."""
    folder = tmp_path / "clone"
    folder.mkdir()
    recipe = load_recipe(str(write_small_recipe(folder)))
    for name, path in (("prompts", recipe.prompts), ("seed", recipe.seed_model)):
        shutil.copytree(path, folder / name)
    shutil.copyfile(recipe.benchmarks[0].path, folder / "own_benchmark.jsonl")
    benchmarks = [{"name": "tiny", "path": "own_benchmark.jsonl"}]
    return write_small_recipe(folder, prompts="prompts", seed_model="seed", benchmarks=benchmarks)


def test_moved_clone_with_other_times_has_the_same_versions(own_files: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(own_files.parent, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    assert versions(load_recipe(str(moved / own_files.name))) == versions(load_recipe(str(own_files)))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("pool.jsonl", {"instruction_pool"}),
        ("own_benchmark.jsonl", {"benchmarks", "progress", "report"}),
        ("seed/config.json", {"seed_model"}),
        ("seed/tokenizer_config.json", {"seed_model"}),
        ("seed/added_tokens.json", {"seed_model"}),
        ("seed/README.md", set()),
        ("prompts/response.jinja", {"pairs"}),
    ],
)
def test_other_content_under_the_same_name_changes_what_reads_it(own_files: Path, file: str, changed: set[str]) -> None:
    before = versions(load_recipe(str(own_files)))
    with (own_files.parent / file).open("a") as content:
        content.write("\n")
    after = versions(load_recipe(str(own_files)))
    assert {stage for stage in STAGES if before[stage] != after[stage]} == changed


def test_what_renders_prompts_rests_on_the_date_that_chat_templates_are_told(small_recipe) -> None:
    before, after = versions(small_recipe()), versions(small_recipe(template_date="2026-01-02"))
    changed = {"pairs", "judgments", "checkpoint", "evaluation", "seed_evaluation"}
    assert {stage for stage in STAGES if before[stage] != after[stage]} == changed


def test_eliciting_verdicts_counts_only_where_it_is_switched_on(small_recipe) -> None:
    never = versions(small_recipe())
    assert versions(small_recipe(verdicts={"closing": "\nSo: "})) == never
    assert (
        basis_of(small_recipe(), "judgments").settings["verdicts"] == digest({"format": "brackets", "ties": False})[:12]
    )
    missing = versions(small_recipe(verdicts={"elicit": "missing"}))
    changed = {"judgments", "filtered_set", "evaluation", "seed_evaluation"}
    assert {stage for stage in STAGES if missing[stage] != never[stage]} == changed
    assert versions(small_recipe(verdicts={"elicit": "missing", "closing": "\nSo: "})) != missing


def test_thresholds_of_checks_and_the_seed_count_where_they_have_an_effect_only(small_recipe) -> None:
    before = versions(small_recipe())
    assert versions(small_recipe(promotion={"wait_seconds": 5})) == before
    changed = {stage for stage, version in versions(small_recipe(seed=99)).items() if version != before[stage]}
    assert changed == set(STAGES) - {"instruction_pool", "benchmarks", "seed_model", "judge", "progress", "report"}


@pytest.mark.parametrize("stage", STAGES)
def test_raised_version_changes_that_stage_alone(stage: str, small_recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions(small_recipe())
    raised = STAGES[stage]._replace(code=STAGES[stage].code + 1)
    monkeypatch.setattr(staleness, "STAGES", {**STAGES, stage: raised})
    assert [name for name, version in versions(small_recipe()).items() if version != before[name]] == [stage]


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (Basis(code=1, settings=SETTINGS, made_of={"judge": "x"}), None),
        (Basis(code=1, settings=SETTINGS, made_of={"judge": "y"}), "judge changed after pairs was made of it"),
        (Basis(code=2, settings=SETTINGS, made_of={"judge": "x"}), "the code of pairs changed (version 2, now 1)"),
        (Basis(code=1, settings=SETTINGS | {"pairs": "c"}), "the recipe changed for pairs (`pairs`)"),
        (Basis(code=1, settings={"seed": "b"}), "the recipe changed for pairs (`pairs`)"),
        (None, "pairs was made by a version that did not record what it depends on"),
    ],
)
def test_comparison_is_one_sentence_about_the_first_difference(stored: Basis | None, sentence: str | None) -> None:
    required = Basis(code=1, settings=SETTINGS, made_of={"judge": "x", "missing": None})
    assert why_stale("pairs", required, stored) == sentence


def test_basis_is_read_again_as_it_was_written() -> None:
    basis = Basis(code=1, settings=SETTINGS, made_of={"judge": None})
    assert Basis.model_validate(json.loads(basis.model_dump_json())) == basis
