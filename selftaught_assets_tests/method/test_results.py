import math

import polars as pl
import pytest

from selftaught_assets.method.scoring.results import Measured, flat_numbers, measure, result_rows, same_items
from selftaught_assets.method.scoring.statistics import mcnemar_exact, sign_flip_exact
from selftaught_assets_tests.method.tables import Judged
from selftaught_assets_tests.method.tables import verdicts as table


def verdicts(greedy: str, digest: str = "digest") -> pl.DataFrame:
    """A judge on pairs whose first response is better: its greedy verdicts in order AB; right in every order BA.

    Pairs 0 and 1, 2 and 3 … share an instruction; the first half is easy. Every vote is three for A and one for B, in
    both orders.
    """
    votes = ((3, 1, 0), (3, 1, 0))
    names = [("easy" if number < len(greedy) / 2 else "hard", f"x{number // 2}") for number in range(len(greedy))]
    by_decoding = {
        "greedy": [
            Judged("A", verdict, "B", subset=subset, instruction=instruction, votes=votes)
            for verdict, (subset, instruction) in zip(greedy, names, strict=True)
        ],
        "vote": [
            Judged("A", "A", "A", subset=subset, instruction=instruction, votes=votes) for subset, instruction in names
        ],
    }
    judge = pl.lit(digest).alias("judge")
    return pl.concat([table(pairs).with_columns(judge, decoding=pl.lit(name)) for name, pairs in by_decoding.items()])


SEED = Measured("seed", verdicts("BBBBBBBA", "d0"), None, None, None, {})
FIRST = Measured("iteration_01", verdicts("AAAAAAAB", "d1"), 100, 80, 12.5, {"judgments": {"samples_per_kept": 1.5}})
SECOND = Measured("iteration_02", verdicts("AAAAAAAA", "d2"), 100, 90, 12.5, {})


def test_a_row_names_the_judge_and_scores_its_greedy_verdicts():
    [row] = result_rows([SEED])
    assert (row["judge"], row["digest"], row["n"], row["accuracy"]) == ("seed", "d0", 16, 9 / 16)
    assert (row["items"], row["instructions"]) == (8, 4)
    for name in ("interval", "interval_clustered"):
        assert row[name][0] < 9 / 16 < row[name][1]
    assert row["position_consistent"] == 1 / 8
    assert (row["winner_first"], row["loser_first"]) == (1 / 8, 1.0)


def test_votes_are_scored_apart_from_greedy_verdicts():
    [row] = result_rows([SEED])
    assert row["vote_accuracy"] == {"4": 0.5}
    assert row["single_sample_accuracy"] == 0.5
    assert row["pooled_vote_accuracy"] == 0.0, "three votes for either response: a draw, which is not right"


def test_what_rests_on_elicited_verdicts_is_told_apart_where_there_are_any():
    """Three of the greedy verdicts in order AB were elicited, two of them right; all of the votes' verdicts were."""
    table = verdicts("AAAAAAAB")
    elicited = (pl.col("order") == "AB") & pl.col("item_id").is_in(
        table["item_id"].unique().sort()[[0, 1, 7]].implode()
    )
    elicited |= pl.col("decoding") == "vote"
    marked = table.with_columns(
        votes_elicited=elicited.cast(pl.Int64),
        verdict_without_elicited=pl.when(~elicited).then("verdict"),
    )
    measured = measure(marked, seed=None, previous=None, form="pairs")
    plain = measure(table, seed=None, previous=None, form="pairs")
    names = [name for name in plain if "elicited" in name]
    assert len(names) == 5
    assert [plain[name] for name in names] == [None] * 5
    assert {name: value for name, value in measured.items() if name not in names} == {
        name: value for name, value in plain.items() if name not in names
    }
    assert measured["accuracy"] == 15 / 16
    assert (measured["elicited_share"], measured["accuracy_without_elicited"]) == (3 / 16, 13 / 16)
    assert measured["vote_accuracy_without_elicited"] == 0.0
    for end in ("", "_clustered"):
        low, high = measured[f"accuracy_without_elicited_interval{end}"]
        assert low <= 13 / 16 <= high
    flat = flat_numbers(measured)
    assert flat["accuracy_without_elicited"] == 13 / 16
    assert flat["accuracy_without_elicited_interval_low"] < 13 / 16


def test_the_seed_is_compared_with_nobody():
    [row] = result_rows([SEED])
    assert [value for name, value in row.items() if "_vs_" in name] == [None] * 8


def test_every_iteration_is_compared_with_the_seed_and_with_the_one_before():
    _, first, second = result_rows([SEED, FIRST, SECOND])
    assert (first["p_vs_seed"], first["p_vs_previous"]) == (mcnemar_exact(7, 1), mcnemar_exact(7, 1))
    assert (second["p_vs_seed"], second["p_vs_previous"]) == (mcnemar_exact(7, 0), mcnemar_exact(1, 0))
    assert first["p_vs_seed_clustered"] == sign_flip_exact([2, 2, 2, 0])
    assert second["p_vs_previous_clustered"] == sign_flip_exact([1])
    assert first["difference_vs_seed"] == 6 / 16
    assert second["difference_vs_previous_interval"][0] <= 1 / 16 <= second["difference_vs_previous_interval"][1]


def test_every_subset_has_its_scores_and_its_own_tests():
    _, first = result_rows([SEED, FIRST])
    assert first["subsets"].keys() == {"easy", "hard"}
    assert first["subsets"]["easy"]["p_vs_seed"] == mcnemar_exact(4, 0)
    assert first["subsets"]["hard"]["p_vs_seed_clustered"] == sign_flip_exact([2, 0])
    assert first["subsets"]["easy"]["accuracy"] == 1.0


def test_the_scores_that_the_benchmark_defines_are_there_with_their_intervals():
    [row] = result_rows([SEED], "judgebench")
    assert row["published"].keys() == {"both_orders_accuracy"}
    low, high = row["published"]["both_orders_accuracy"]["interval"]
    assert low <= row["published"]["both_orders_accuracy"]["value"] <= high


def test_judges_on_different_pairs_are_refused():
    with pytest.raises(ValueError, match="not measured on the same items"):
        result_rows([SEED, Measured("iteration_01", verdicts("A"), 1, 1, 1.0, {})])


def test_every_number_has_a_name_of_its_own_and_is_a_plain_finite_number():
    numbers = flat_numbers(measure(FIRST.verdicts, seed=SEED.verdicts, previous=SEED.verdicts, form="judgebench"))
    assert all(type(value) in (int, float) and math.isfinite(value) for value in numbers.values())
    expected = {"accuracy", "accuracy_low", "accuracy_clustered_high", "invalid_share", "verdicts", "p_vs_seed"}
    expected |= {"vote_accuracy", "published/both_orders_accuracy", "subset/easy/accuracy", "position_bias"}
    assert expected <= numbers.keys()


def test_what_is_not_known_of_the_seed_is_left_out_of_its_numbers():
    assert not [
        name for name in flat_numbers(measure(SEED.verdicts, seed=None, previous=None, form="pairs")) if "vs" in name
    ]


def test_tables_on_other_pairs_or_of_nobody_are_not_the_same_items():
    assert same_items(SEED.verdicts, FIRST.verdicts.reverse())
    assert not same_items(None, FIRST.verdicts)
    assert not same_items(verdicts("A"), FIRST.verdicts)
