"""`results` and `compare` on written tables of verdicts; test_cli.py runs `results` on those of a real judge."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks.reward_bench import SECTIONS
from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.method.tables import right, verdicts, wrong

WIDTH = 80
SUBSETS = [subset for weights in SECTIONS.values() for subset in weights]
VOTES = ((900, 30, 0), (20, 910, 0))
"""Of 930 in each order, so that the table has its widest numbers."""


def evaluation(wrong_ones: int, digest: str) -> pl.DataFrame:
    """A judge that is wrong on the first pairs of every subset; ten pairs in each, two to an instruction."""
    pairs = [
        (wrong if number < wrong_ones else right)(subset=subset, instruction=f"{subset} {number // 2}", votes=VOTES)
        for subset in SUBSETS
        for number in range(10)
    ]
    tables = [verdicts(pairs, "tiny"), verdicts(pairs, "rewardbench"), verdicts(pairs[:10], "short")]
    judged = pl.concat(tables).with_columns(judge=pl.lit(digest * 64))
    return pl.concat([judged.with_columns(decoding=pl.lit(decoding)) for decoding in ("greedy", "vote")])


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small recipe with three benchmarks, its seed and two of three iterations evaluated."""
    path = write_small_recipe(
        tmp_path,
        benchmarks=[
            {"name": "tiny", "path": "benchmark.jsonl"},
            {"name": "rewardbench", "path": "benchmark.jsonl", "format": "rewardbench"},
            {"name": "short", "path": "benchmark.jsonl"},
        ],
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    data = tmp_path / "data" / "small"
    made = pl.DataFrame({"drop_reason": pl.Series([None] * 123_456, dtype=pl.String), "split": "train"})
    for name in ("evaluation", "pairs", "filtered_set"):
        (data / name).mkdir(parents=True)
    evaluation(4, "0").write_parquet(data / "seed_evaluation.parquet")
    for number, wrong_ones in ((1, 1), (2, 0)):
        evaluation(wrong_ones, str(number)).write_parquet(data / "evaluation" / f"iteration_0{number}.parquet")
        for name in ("pairs", "filtered_set"):
            made.write_parquet(data / name / f"iteration_0{number}.parquet")
    return path


def test_verdicts_on_held_out_synthetic_pairs_count_nowhere(recipe: Path) -> None:
    commands = (("results", "--json"), ("compare", "iteration_01", "iteration_02", "--json"))
    before = [said(*command, recipe=recipe) for command in commands]
    for path in (recipe.parent / "data" / "small" / "evaluation").iterdir():
        verdicts = pl.read_parquet(path)
        held_out = verdicts.filter((pl.col("benchmark") == "tiny") & (pl.col("decoding") == "greedy"))
        wrong = held_out.with_columns(benchmark=pl.lit(HELD_OUT), verdict=pl.lit(None, dtype=pl.String))
        pl.concat([verdicts, wrong]).write_parquet(path)
    assert [said(*command, recipe=recipe) for command in commands] == before


def said(*arguments: str, recipe: Path) -> str:
    done = CliRunner().invoke(app, [*arguments, "--recipe", str(recipe)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments: str, recipe: Path) -> str:
    done = CliRunner().invoke(app, [*arguments, "--recipe", str(recipe)])
    assert isinstance(done.exception, UserError)
    return str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("results",),
        ("results", "--benchmark", "rewardbench"),
        ("compare", "seed", "iteration_02"),
        ("compare", "seed", "iteration_02", "-b", "rewardbench", "--items"),
    ],
)
def test_everything_fits_a_terminal_of_80_columns(recipe: Path, arguments: tuple[str, ...]) -> None:
    lines = said(*arguments, recipe=recipe).split("\n")
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if "…" in line], "nothing is cut off"


def test_results_show_each_judge_with_interval_and_both_p_values(recipe: Path) -> None:
    rows = [line.split() for line in said("results", recipe=recipe).split("\n") if line.startswith("iteration_02")]
    main, costs = rows
    assert main[:3] == ["iteration_02", "100.0", "100.0–100.0"]
    assert float(main[-2]) < 0.001
    assert float(main[-1]) < 0.001
    assert costs[3:5] == ["123,456", "123,456"]


def test_results_say_of_how_many_pairs_a_benchmark_is_a_sample(recipe: Path) -> None:
    whole = pl.DataFrame({"benchmark": "tiny", "drop_reason": [None] * 230 + ["not_sampled"] * 2_755 + ["tie"] * 99})
    whole.write_parquet(recipe.parent / "data" / "small" / "benchmarks.parquet")
    assert "greedy verdicts on 230 of 2,985 pairs" in " ".join(said("results", recipe=recipe).split())
    assert json.loads(said("results", "--json", recipe=recipe))["usable_pairs"] == 2_985
    assert " on 10 pairs " in " ".join(said("results", "--benchmark", "short", recipe=recipe).split())


def test_results_show_the_scores_that_the_benchmark_defines(recipe: Path) -> None:
    shown = " ".join(said("results", "--benchmark", "rewardbench", recipe=recipe).split())
    for name in ("chat", "safety", "reasoning"):
        assert name in shown
    assert "four sections" in shown


def test_json_keeps_the_documented_keys_and_adds_the_rest(recipe: Path) -> None:
    collected = json.loads(said("results", "--json", "-b", "rewardbench", recipe=recipe))
    assert (collected["recipe"], collected["benchmark"]) == ("small", "rewardbench")
    seed, first, _ = collected["rows"]
    assert first["n"] == 460
    assert first["vote_accuracy"].keys() == {"930"}
    assert 0 < first["p_vs_seed"] < first["p_vs_seed_clustered"] < 0.05, "fewer instructions than verdicts"
    assert first["published"]["overall_four_sections"]["value"] == pytest.approx(0.9)
    assert first["subsets"].keys() == set(SUBSETS)
    assert seed["p_vs_seed_clustered"] is None


def test_compare_says_who_is_better_with_both_tests(recipe: Path) -> None:
    shown = " ".join(said("compare", "seed", "iteration_01", recipe=recipe).split())
    assert "iteration_01 is better than seed: iteration_01 minus seed is +30.0 points (95 % " in shown
    assert "over instructions" in shown
    assert "McNemar" in shown
    assert "8 of 23 subsets" in shown


def test_compare_shows_no_difference_where_there_is_none(recipe: Path) -> None:
    shown = " ".join(said("compare", "iteration_01", "iteration_02", "-b", "short", recipe=recipe).split())
    assert "No difference is shown between iteration_02 and iteration_01" in shown
    assert "better" not in shown


def test_compare_lists_the_pairs_won_and_lost_only_if_asked(recipe: Path) -> None:
    assert "Pairs won: 0000" in said("compare", "iteration_01", "iteration_02", "--items", recipe=recipe)
    assert "Pairs won:" not in said("compare", "iteration_01", "iteration_02", recipe=recipe)


def test_compare_as_json_has_everything(recipe: Path) -> None:
    compared = json.loads(said("compare", "iteration_01", "iteration_02", "--json", "--items", recipe=recipe))
    assert (compared["a"], compared["b"], compared["benchmark"]) == ("iteration_01", "iteration_02", "tiny")
    assert (compared["items_won"], compared["items_lost"]) == (23, 0)
    assert len(compared["won"]) == 23
    assert compared["overall"]["difference"] == pytest.approx(0.1)
    assert compared["overall"].keys() >= {"p_mcnemar", "p_clustered", "interval"}
    assert compared["subsets"].keys() == set(SUBSETS)


def test_judges_of_two_recipes_are_compared_by_their_recipes_names(recipe: Path) -> None:
    compared = json.loads(said("compare", f"{recipe}:seed", f"{recipe}:iteration_01", "--json", recipe=recipe))
    assert compared["overall"]["gained"] == 138


def test_unknown_and_unevaluated_judges_are_named(recipe: Path) -> None:
    assert refused("compare", "seed", "iteration_09", recipe=recipe) == (
        "Recipe small has no judge 'iteration_09', only seed, iteration_01, iteration_02, iteration_03."
    )
    assert refused("compare", "seed", "iteration_03", recipe=recipe) == (
        "iteration_03 of recipe small is not evaluated on tiny: materialize evaluation of iteration_03."
    )


def test_judges_measured_on_different_pairs_are_not_compared(recipe: Path, tmp_path: Path) -> None:
    table = tmp_path / "data" / "small" / "evaluation" / "iteration_01.parquet"
    pl.read_parquet(table).filter(pl.col("item_id") != "0003").write_parquet(table)
    for arguments in (("compare", "seed", "iteration_01"), ("results",)):
        assert "not measured on the same items" in refused(*arguments, recipe=recipe)


def test_tables_without_instructions_ask_to_be_made_again(recipe: Path, tmp_path: Path) -> None:
    table = tmp_path / "data" / "small" / "seed_evaluation.parquet"
    pl.read_parquet(table).drop("instruction_id").write_parquet(table)
    assert "written by an earlier version" in refused("results", recipe=recipe)
