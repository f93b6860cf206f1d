"""The loop's promises about its tables, on the real seed model: sameness, and what recipes may choose."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.method.judging import SETTLES, until_settled
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets_tests.assets.loop import Loop, copy_of, open_loop, sentences
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

pytestmark = pytest.mark.slow


def few(folder: Path, **overrides: object) -> Recipe:
    """The small recipe with fewer instructions."""
    return load_recipe(str(write_small_recipe(folder, **{"instructions": {"count": 20}} | overrides)))


def loop(folder: Path, data: str = "data", **overrides: object) -> Loop:
    recipe = few(folder, **overrides)
    home = folder / f"{data}_home"
    home.mkdir(exist_ok=True)
    return Loop(recipe, folder / data, dg.DagsterInstance.local_temp(str(home)))


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop up to the judge of its first iteration. Nobody changes it."""
    folder = tmp_path_factory.mktemp("paired")
    with open_loop(few(folder), folder) as one:
        one.run("prepare", assets=["instruction_pool", "seed_model"])
        one.run("iteration", "iteration_01", ["instructions", "pairs", "judge"])
        yield one


@pytest.fixture
def judged(paired: Loop, tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """Makes the judgments with sections of the recipe replaced, each time in a copy of its own."""
    with ExitStack() as copies:

        def judge(name: str = "one", **overrides: object) -> Loop:
            (folder := tmp_path / name).mkdir()
            copied = copies.enter_context(copy_of(paired, folder, few(folder, **overrides)))
            copied.run("iteration", "iteration_01", ["judgments"])
            return copied

        yield judge


def test_same_seed_gives_the_same_tables(judged: Callable[..., Loop], tmp_path: Path) -> None:
    first, second = judged("first"), loop(tmp_path, "second", engine={"max_rows": 7})
    first.run("iteration", "iteration_01", ["filtered_set"])
    second.run("prepare", assets=["instruction_pool", "seed_model"])
    second.run("iteration", "iteration_01", ["instructions", "pairs", "judge", "judgments", "filtered_set"])
    for name in ("pairs", "judgments", "filtered_set"):
        assert first.table(name, "iteration_01").equals(second.table(name, "iteration_01"))
        assert first.version(name, "iteration_01") == second.version(name, "iteration_01")


def test_judgments_end_with_the_first_right_one_and_are_otherwise_those_of_the_fixed_number(
    judged: Callable[..., Loop],
) -> None:
    never = judged("never", judgments=SMALL["judgments"] | {"stop": "never"})
    first = judged("first", engine={"max_rows": 16}, price={"per_hour": 3600.0})
    whole, table = (one.table("judgments", "iteration_01") for one in (never, first))
    assert table.equals(until_settled(whole))
    assert 0 < table.height < whole.height
    account = first.metadata("judgments", "iteration_01")
    assert account["completions"] == table.height + account["completions_surplus"]
    assert account["requests"] == whole["pair_id"].n_unique()
    assert account["samples_per_kept"] == account["completions"] / table.filter(SETTLES).height
    assert account["cost"] == pytest.approx(account["sampling_seconds"], abs=0.01)
    shares = [one.metadata("judgments", "iteration_01") for one in (never, first)]
    assert shares[0]["solved_share"] == shares[1]["solved_share"]


def test_a_judge_that_does_not_know_the_format_starts_the_loop_and_learns_it(
    judged: Callable[..., Loop], tmp_path: Path
) -> None:
    prompts = shutil.copytree(SMALL["prompts"], tmp_path / "prompts")
    (prompts / "judge.jinja").write_text("A: {{ response_a }}\nB: {{ response_b }}\nJudge: {{ instruction }}")
    sections = {
        "prompts": str(prompts),
        "filter": {"label_tolerance": 0.5, "validation_share": 0.0},
        "training": SMALL["training"] | {"epochs": 10, "batch_size": 2},
    }
    never = judged("never", **sections)
    missing = judged("missing", verdicts={"elicit": "missing", "closing": "\n"}, **sections)
    before, after = (one.table("judgments", "iteration_01") for one in (never, missing))
    assert before["verdict"].null_count() == before.height
    firsts = before.join(after, on=["pair_id", "sample_index"], validate="1:1").filter("elicited")
    assert firsts.height == after.height
    assert (firsts["judgment_right"].str.head(-5) == firsts["judgment"] + "\n").all()
    assert (firsts["judgment_right"].str.tail(5) == "[[" + firsts["verdict_right"] + "]]").all()
    assert (firsts["completion_tokens_right"] == firsts["completion_tokens"] + 1).all()

    missing.run("iteration", "iteration_01", ["filtered_set", "checkpoint"])
    examples = missing.table("filtered_set", "iteration_01").filter(pl.col("drop_reason").is_null())
    assert examples.join(after, left_on="completion", right_on="judgment", how="semi").height == examples.height > 0
    missing.run("iteration", "iteration_02", ["instructions", "pairs", "judge", "judgments"])
    account, later = (missing.metadata("judgments", f"iteration_0{number}") for number in (1, 2))
    assert account["elicited_share"] == missing.metadata("filtered_set", "iteration_01")["elicited_share"] == 1.0
    assert account["completions_eliciting"] == account["completions"] / 2
    assert account["completions"] == 2 * (after.height + account["completions_surplus"])
    assert later["elicited_share"] < 0.5


def test_another_seed_gives_other_instructions(paired: Loop, tmp_path: Path) -> None:
    other = loop(tmp_path, seed=8)
    other.run("prepare", assets=["instruction_pool"])
    other.run("iteration", "iteration_01", ["instructions"])
    assert paired.version("instructions", "iteration_01") != other.version("instructions", "iteration_01")


def test_fixed_pairs_cost_nothing_in_later_iterations(paired: Loop, tmp_path: Path) -> None:
    with copy_of(paired, tmp_path) as one:
        one.run("iteration", "iteration_02", ["instructions", "pairs"])
        assert one.table("pairs", "iteration_02").equals(one.table("pairs", "iteration_01"))
        assert one.metadata("pairs", "iteration_02")["completions_sampled"] == 0


def test_fresh_pairs_share_no_instruction(tmp_path: Path) -> None:
    one = loop(tmp_path, instructions={"count": 10, "schedule": "fresh"})
    one.run("prepare", assets=["instruction_pool", "seed_model", "benchmarks"])
    for iteration in ("iteration_01", "iteration_02"):
        one.run("iteration", iteration, ["instructions", "pairs"])
    ids = [set(one.table("pairs", iteration)["instruction_id"]) for iteration in ("iteration_01", "iteration_02")]
    assert len(ids[0]) == len(ids[1]) == 10
    assert not ids[0] & ids[1]


def test_one_call_pairs_hold_the_instruction_and_response_that_the_generator_wrote(tmp_path: Path) -> None:
    one = loop(tmp_path, pairs=SMALL["pairs"] | {"form": "one_call", "min_valid_share": 0.0})
    one.run("prepare", assets=["instruction_pool", "seed_model", "benchmarks"])
    one.run("iteration", "iteration_01", ["instructions", "pairs"])
    pairs = one.table("pairs", "iteration_01")
    kept = pairs.filter(pl.col("drop_reason").is_null())
    assert kept.height > 0
    assert (kept["modified_instruction"] != kept["instruction"]).all()


def test_both_positions_ask_about_each_pair_twice(judged: Callable[..., Loop]) -> None:
    one = judged(judgments=SMALL["judgments"] | {"positions": "both", "n": 1})
    asked = one.table("judgments", "iteration_01").group_by("pair_id").agg(pl.col("chosen_position").sort())
    assert asked["chosen_position"].to_list() == [["A", "B"]] * asked.height


def test_continued_training_starts_from_the_current_judge(first_iteration: Loop, tmp_path: Path) -> None:
    training = first_iteration.recipe.training.model_copy(update={"start_from": "previous"})
    recipe = first_iteration.recipe.model_copy(update={"training": training})
    with copy_of(first_iteration, tmp_path, recipe) as one:
        one.run("iteration", "iteration_01", ["checkpoint"])
        one.run(
            "iteration", "iteration_02", ["instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint"]
        )
        started_from = one.metadata("checkpoint", "iteration_02")["start_digest"]
        assert started_from == one.metadata("checkpoint", "iteration_01")["judge_digest"]


def test_unfiltered_control_trains_on_wrong_verdicts_as_well(judged: Callable[..., Loop]) -> None:
    judgments = SMALL["judgments"] | {"stop": "never"}
    one = judged(judgments=judgments, filter={"keep": "any", "label_tolerance": 0.5})
    one.run("iteration", "iteration_01", ["filtered_set"])
    kept = one.table("filtered_set", "iteration_01").filter(pl.col("drop_reason").is_null())
    correct = kept.join(one.table("judgments", "iteration_01"), on="judgment_id")["is_correct"]
    assert 0 < correct.sum() < correct.len()


def test_planted_bad_pair_stops_the_run_before_it_is_judged(tmp_path: Path) -> None:
    one = loop(tmp_path, pairs=SMALL["pairs"] | {"min_valid_share": 1.0})
    one.run("prepare", assets=["instruction_pool", "seed_model", "benchmarks"])
    result = one.run("iteration", "iteration_01", fails=True)
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [(check.asset_key.path[-1], check.check_name) for check in failed] == [("pairs", "pair_validity")]
    assert not one.layout.table("judgments", "iteration_01").exists()
    assert sentences(result)
