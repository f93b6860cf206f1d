import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.scoring.accuracy import compare
from selftaught_assets.method.scoring.comparison import compare_judges, p_text, sentence
from selftaught_assets_tests.method.tables import Judged, right, verdicts, wrong


def greedy(pairs: list[Judged]) -> pl.DataFrame:
    """The pairs as greedy verdicts, and the same as votes that must not count."""
    table = verdicts(pairs)
    votes = table.with_columns(decoding=pl.lit("vote"), verdict=pl.lit("A"))
    return pl.concat([table.with_columns(decoding=pl.lit("greedy")), votes], how="diagonal")


BEFORE = greedy([wrong(subset="hard")] * 8 + [right(subset="easy")] * 8 + [Judged("A", "A", "A", subset="easy")])
AFTER = greedy([right(subset="hard")] * 8 + [right(subset="easy")] * 7 + [wrong(subset="easy"), right(subset="easy")])


def test_the_two_judges_stand_side_by_side_with_their_difference():
    compared = compare_judges(BEFORE, AFTER)
    assert (compared["items"], compared["instructions"]) == (17, 17)
    assert compared["before"]["accuracy"] == 17 / 34
    assert compared["after"]["accuracy"] == 32 / 34
    assert compared["overall"]["difference"] == pytest.approx(15 / 34)
    assert (compared["overall"]["gained"], compared["overall"]["lost"]) == (17, 2)
    assert compared["overall"]["interval"][0] < 15 / 34 < compared["overall"]["interval"][1]


def test_both_tests_are_named():
    overall = compare_judges(BEFORE, AFTER)["overall"]
    test = compare(*(table.filter(pl.col("decoding") == "greedy") for table in (BEFORE, AFTER)))
    assert (overall["p_mcnemar"], overall["p_clustered"]) == (test.p_value, test.p_clustered)


def test_items_are_won_and_lost_by_their_verdicts_in_both_orders():
    compared = compare_judges(BEFORE, AFTER)
    assert compared["items_won"] == [f"{number:04}" for number in (*range(8), 16)]
    assert compared["items_lost"] == ["0015"]


def test_subsets_that_differ_most_come_first():
    subsets = compare_judges(BEFORE, AFTER)["subsets"]
    assert list(subsets) == ["hard", "easy"]
    assert subsets["hard"]["difference"] == 1.0
    assert subsets["easy"]["difference"] == pytest.approx(-1 / 18)


def test_the_benchmarks_own_scores_are_compared_too():
    [score] = compare_judges(BEFORE, AFTER, "judgebench")["published"].values()
    assert (score["before"], score["after"]) == (8 / 17, 16 / 17)
    assert score["difference"] == pytest.approx(8 / 17)
    assert score["interval"][0] <= score["difference"] <= score["interval"][1]


def test_judges_on_different_pairs_are_not_compared():
    with pytest.raises(ValueError, match="not measured on the same items"):
        compare_judges(BEFORE, greedy([right()]))


def test_a_judge_is_called_better_only_with_the_test_that_shows_it():
    said = sentence("seed", "iteration_01", compare_judges(BEFORE, AFTER)["overall"])
    assert said.startswith("iteration_01 is better than seed: ")
    assert "+44.1 points (95 % " in said
    assert "over instructions, p " in said
    assert said.endswith("by McNemar's test.")


def test_the_better_judge_is_named_whichever_comes_first():
    said = sentence("iteration_01", "seed", compare_judges(AFTER, BEFORE)["overall"])
    assert said.startswith("iteration_01 is better than seed: seed minus iteration_01 is -44.1 points")


@given(gains=st.integers(0, 8), losses=st.integers(0, 8), instructions=st.integers(1, 12))
def test_nothing_is_called_better_without_significance_over_instructions(gains, losses, instructions):
    rows = [right(instruction=str(number % instructions)) for number in range(gains + losses + 4)]
    before = [row._replace(as_given="B") if number < gains else row for number, row in enumerate(rows)]
    after = [row._replace(as_given="B") if gains <= number < gains + losses else row for number, row in enumerate(rows)]
    test = compare_judges(greedy(before), greedy(after))["overall"]
    said = sentence("a", "b", test)
    assert ("is better than" in said) == (test["p_clustered"] < 0.05)
    assert not (instructions <= 5 and "is better than" in said), "five instructions cannot show anything"
    assert "p = " in said


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(0.0, "< 1e-300"), (1.2e-26, "= 1e-26"), (0.0009, "= 9e-04"), (0.0499, "= 0.0499"), (1.0, "= 1")],
)
def test_a_p_value_is_never_printed_as_zero(p_value, text):
    assert p_text(p_value) == text
