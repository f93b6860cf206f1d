"""The checks of a recipe that rates responses one by one: silent on clean tables, and each planted fault is named."""

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.checks.results import check_result
from selftaught_assets.checks.suites import suites_of
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.single import rating_requests, ratings_table
from selftaught_assets.method.single_evaluation import benchmark_rating_requests, rating_verdicts
from selftaught_assets.method.single_examples import filtered_set
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks.tables import BENCHMARK, Tables, changed, first_kept, spoil, without, write_recipe

RATINGS = ["8", "2", "none"]
"""Of every response, in turn: so each pair has right, wrong and tied combinations, and an invalid rating."""


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return write_recipe(tmp_path_factory.mktemp("single"), judgments={"form": "single", "n": 3})


@pytest.fixture(scope="module")
def rated(single: Recipe, tables: Tables) -> Tables:
    requests = rating_requests(tables["pairs"])
    judgments = ratings_table(requests, completions(requests, RATINGS), judge="digest")
    benchmarks = benchmark_rows("held_out", BENCHMARK)
    asked = benchmark_rating_requests(benchmarks.filter(pl.col("drop_reason").is_null()))
    verdicts = pl.concat(
        [
            rating_verdicts(asked, completions(asked, RATINGS[:n]), decoding=decoding, judge="digest")
            for decoding, n in (("greedy", 1), ("vote", 3))
        ]
    )
    examples = filtered_set(judgments, tables["pairs"], single.templates, keep="correct", validation_share=0.3, seed=1)
    changes = {"judgments": judgments, "filtered_set": examples, "evaluation": verdicts, "seed_evaluation": verdicts}
    return tables | changes


def completions(requests: pl.DataFrame, ratings: list[str]) -> pl.DataFrame:
    texts = pl.DataFrame({"sample_index": range(len(ratings)), "text": [f"so [[{rating}]]" for rating in ratings]})
    facts = {"finish_reason": pl.lit("stop"), "completion_tokens": pl.lit(3)}
    return requests.select("request_id").join(texts, how="cross").with_columns(**facts)


def result_of(single: Recipe, tables: Tables, asset: str, check: str) -> dg.AssetCheckResult:
    (suite,) = [suite for suite in suites_of(single) if (suite.asset, suite.name) == (asset, check)]
    return check_result(suite, suite.rows(tables), dg.AssetKey(asset))


def found(result: dg.AssetCheckResult, rule: str) -> object:
    return result.metadata[rule].value


def test_every_check_passes_on_clean_tables(single: Recipe, rated: Tables):
    assert rated["filtered_set"]["drop_reason"].is_null().sum() == 2 * 29
    for suite in suites_of(single):
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
