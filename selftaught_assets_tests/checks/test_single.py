"""The checks of a recipe that rates responses one by one: silent on clean tables, and each planted fault is named."""

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.checks.suites import suites_of
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.scoring.held_out import held_out_items
from selftaught_assets.method.single import (
    benchmark_rating_requests,
    filtered_set,
    rating_requests,
    rating_verdicts,
    ratings_table,
)
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.checks.tables import (
    BENCHMARK,
    Tables,
    changed,
    first_kept,
    spoil,
    without,
    words,
    write_recipe,
)
from selftaught_assets_tests.checks.world import World

RATINGS = ["8", "2", "none"]
"""Of every response, in turn: so each pair has right, wrong and tied combinations, and an invalid rating."""


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_recipe(tmp_path_factory.mktemp("single"), judgments={"form": "single", "n": 3})


@pytest.fixture(scope="module")
def rated(single: Recipe, tables: Tables) -> Tables:
    requests = rating_requests(tables["pairs"])
    judgments = ratings_table(requests, completions(requests, RATINGS), judge="digest")
    benchmarks = benchmark_rows("labelled", BENCHMARK)
    asked = benchmark_rating_requests(benchmarks.filter(pl.col("drop_reason").is_null()))
    verdicts = pl.concat(
        [
            rating_verdicts(asked, rightly_rated(asked, n), decoding=decoding, judge="digest")
            for decoding, n in (("greedy", 1), ("vote", 3))
        ]
    )
    synthetic = benchmark_rating_requests(held_out_items(tables["pairs"], validation_share=0.3, seed=1))
    held_out = rating_verdicts(synthetic, rightly_rated(synthetic, 1), decoding="greedy", judge="digest")
    examples = filtered_set(judgments, tables["pairs"], single.templates, keep="correct", validation_share=0.3, seed=1)
    evaluation = pl.concat([verdicts, held_out])
    changes = {"judgments": judgments, "filtered_set": examples, "evaluation": evaluation, "seed_evaluation": verdicts}
    return tables | changes


def completions(requests: pl.DataFrame, ratings: list[str]) -> pl.DataFrame:
    rows = [
        (request, index, f"{words(f'{request} {index}', 12)} [[{rating}]]")
        for request in requests["request_id"]
        for index, rating in enumerate(ratings)
    ]
    answers = pl.DataFrame(rows, schema=["request_id", "sample_index", "text"], orient="row")
    return answers.with_columns(finish_reason=pl.lit("stop"), completion_tokens=pl.lit(3))


def rightly_rated(requests: pl.DataFrame, n: int) -> pl.DataFrame:
    """The better response of each item has an 8, the other one a 2."""
    rating = pl.when(pl.col("side") == pl.col("label")).then(pl.lit("[[8]]")).otherwise(pl.lit("[[2]]"))
    answers = requests.select("request_id", text=rating, finish_reason=pl.lit("stop"))
    return answers.join(pl.DataFrame({"sample_index": range(n)}), how="cross")


def result_of(single: Recipe, tables: Tables, asset: str, check: str) -> dg.AssetCheckResult:
    return World(single, tables, Layout(single.pool.path.parent, single.name)).result(asset, check)


def found(result: dg.AssetCheckResult, rule: str) -> object:
    return result.metadata[rule].value


def test_every_check_passes_on_clean_tables(single: Recipe, rated: Tables):
    assert rated["filtered_set"]["drop_reason"].is_null().sum() == 2 * 29
    for suite in suites_of(single):
        if suite.asset in ("benchmarks", "judge", "checkpoint") or suite.name == "no_benchmark_overlap_warnings":
            continue  # They read files, and are the same in both forms.
        result = result_of(single, rated, suite.asset, suite.name)
        assert result.passed, result.description


@pytest.mark.parametrize("asset", ["judgments", "filtered_set", "evaluation", "seed_evaluation"])
def test_a_row_that_vanished_or_stands_twice_is_found(asset: str, single: Recipe, rated: Tables):
    missing = result_of(single, changed(rated, asset, lambda frame: without(frame, 1)), asset, "rows_accounted")
    assert not missing.passed
    assert found(missing, "rows_missing") == 1
    twice = changed(rated, asset, lambda frame: pl.concat([frame, frame[[1]]]))
    repeated = result_of(single, twice, asset, "rows_accounted")
    assert not repeated.passed
    assert found(repeated, "rows_unexpected") == 1


def test_verdicts_in_an_order_are_no_ratings(single: Recipe, rated: Tables):
    spoiled = changed(rated, "evaluation", lambda frame: spoil(frame, 0, order="AB"))
    assert found(result_of(single, spoiled, "evaluation", "rows_accounted"), "rows_unexpected") == 1


def balance_of(single: Recipe, rated: Tables, **values: object) -> dg.AssetCheckResult:
    spoiled = changed(rated, "filtered_set", lambda frame: spoil(frame, first_kept(frame), **values))
    return result_of(single, spoiled, "filtered_set", "label_balance")


def test_a_winner_without_its_loser_is_found(single: Recipe, rated: Tables):
    result = balance_of(single, rated, drop_reason="not_drawn")
    assert not result.passed
    assert found(result, "pair_incomplete") == 1


def test_a_winner_that_does_not_outscore_its_loser_is_found(single: Recipe, rated: Tables):
    assert rated["filtered_set"]["label"][first_kept(rated["filtered_set"])] == "chosen"
    result = balance_of(single, rated, rating=2)
    assert not result.passed
    assert found(result, "winner_not_above") == 1


@pytest.mark.parametrize("rating", [None, 0, 11])
def test_a_rating_off_the_scale_is_found(rating: int | None, single: Recipe, rated: Tables):
    result = balance_of(single, rated, rating=rating)
    assert not result.passed
    assert found(result, "rating_unknown") == 1


def test_a_surplus_of_winners_is_found(single: Recipe, rated: Tables):
    only_winners = changed(rated, "filtered_set", lambda frame: frame.filter(pl.col("label") == "chosen"))
    result = result_of(single, only_winners, "filtered_set", "label_balance")
    assert not result.passed
    assert found(result, "chosen_share") == 1.0
    assert found(result, "pair_incomplete") == 29


def test_the_control_may_keep_pairs_in_the_wrong_order(tmp_path, rated: Tables):
    control = write_recipe(tmp_path, judgments={"form": "single", "n": 3}, filter={"keep": "any"})
    assert balance_of(control, rated, rating=2).passed


JUDGMENT_FAULTS = [
    ("judgment_quality", "parsed_share", {"verdict": pl.lit(None, dtype=pl.String)}),
    ("judgment_quality", "truncated_share", {"finish_reason": pl.lit("length")}),
    ("judgment_quality", "solved_share", {"is_correct": pl.lit(False)}),
    ("kept_pairs_sampled_warnings", "unanswered_share", {"drop_reason": pl.lit("failed")}),
    ("verdicts_reparsed", "verdicts_differ", {"verdict": pl.lit("7")}),
    ("verdicts_reparsed", "correctness_differs", {"is_correct": pl.lit(True)}),
]


@pytest.mark.parametrize(("check", "rule", "values"), JUDGMENT_FAULTS, ids=[rule for _, rule, _ in JUDGMENT_FAULTS])
def test_a_fault_of_ratings_is_found(check: str, rule: str, values: dict, single: Recipe, rated: Tables):
    spoiled = changed(rated, "judgments", lambda frame: frame.with_columns(**values))
    result = result_of(single, spoiled, "judgments", check)
    assert not result.passed
    assert rule in {record.data["rule"] for record in result.metadata["offending_rows"].records}


def test_a_response_trained_on_twice_is_found(single: Recipe, rated: Tables):
    again = changed(rated, "filtered_set", lambda frame: pl.concat([frame, frame[[first_kept(frame)]]]))
    assert found(result_of(single, again, "filtered_set", "one_example_per_pair"), "pair_repeated") == 2


def test_what_needs_positions_is_left_out(single: Recipe):
    names = {suite.name for suite in suites_of(single)}
    assert "position_bias" not in names
    assert {rule.name for suite in suites_of(single) if suite.name == "judgment_quality" for rule in suite.rules} == {
        "parsed_share",
        "truncated_share",
        "solved_share",
    }
