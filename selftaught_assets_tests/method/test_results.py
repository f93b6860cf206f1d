import polars as pl
import pytest

from selftaught_assets.method.results import Measured, result_rows
from selftaught_assets.method.scores import mcnemar_exact


def verdicts(greedy: str, digest: str = "digest") -> pl.DataFrame:
    """A judge on pairs whose first response is better: its greedy verdicts in order AB; right in every order BA.

    Every vote is three for A and one for B, in both orders.
    """
    rows = []
    for number, verdict in enumerate(greedy):
        for decoding, as_given in (("greedy", verdict), ("vote", "A")):
            rows.append(("b", str(number), "AB", decoding, digest, "A", 3, 1, 0, as_given))
            rows.append(("b", str(number), "BA", decoding, digest, "B", 3, 1, 0, "A" if decoding == "vote" else "B"))
    names = ["benchmark", "item_id", "order", "decoding", "judge", "label"]
    names += ["votes_a", "votes_b", "votes_invalid", "verdict"]
    return pl.DataFrame(rows, schema=names, orient="row")


SEED = Measured("seed", verdicts("BBBBBBBA", "d0"), None, None, None)
FIRST = Measured("iteration_01", verdicts("AAAAAAAB", "d1"), 100, 80, 12.5)
SECOND = Measured("iteration_02", verdicts("AAAAAAAA", "d2"), 100, 90, 12.5)


def test_a_row_names_the_judge_and_scores_its_greedy_verdicts():
    [row] = result_rows([SEED])
    assert (row["judge"], row["digest"], row["n"], row["accuracy"]) == ("seed", "d0", 16, 9 / 16)
    assert row["interval"][0] < 9 / 16 < row["interval"][1]
    assert row["position_consistent"] == 1 / 8


def test_votes_are_scored_apart_from_greedy_verdicts():
    [row] = result_rows([SEED])
    assert row["vote_accuracy"] == {"4": 0.5}
    assert row["single_sample_accuracy"] == 0.5


def test_the_seed_is_compared_with_nobody():
    [row] = result_rows([SEED])
    assert (row["p_vs_seed"], row["p_vs_previous"]) == (None, None)


def test_every_iteration_is_compared_with_the_seed_and_with_the_one_before():
    _, first, second = result_rows([SEED, FIRST, SECOND])
    assert (first["p_vs_seed"], first["p_vs_previous"]) == (mcnemar_exact(7, 1), mcnemar_exact(7, 1))
    assert (second["p_vs_seed"], second["p_vs_previous"]) == (mcnemar_exact(7, 0), mcnemar_exact(1, 0))


def test_judges_on_different_pairs_are_refused():
    with pytest.raises(ValueError, match="not measured on the same items"):
        result_rows([SEED, Measured("iteration_01", verdicts("A"), 1, 1, 1.0)])
