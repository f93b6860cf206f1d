import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.scoring.accuracy import combined_verdicts, pooled_verdicts, single_sample_accuracy
from selftaught_assets_tests.method.tables import Judged, turned, verdicts

answers = st.sampled_from(["A", "B", "TIE", None])
counts = st.tuples(*[st.integers(0, 4)] * 3)


def pooled(*votes: tuple[tuple[int, int, int], tuple[int, int, int]], label: str = "A") -> list[str | None]:
    return pooled_verdicts(verdicts([Judged(label, None, None, votes=pair) for pair in votes]))["verdict"].to_list()


def combined(as_given: str | None, swapped: str | None) -> str | None:
    return combined_verdicts(verdicts([("A", as_given, swapped)]))["verdict"].item()


def test_votes_for_a_response_count_wherever_it_stands():
    assert pooled(((5, 3, 0), (2, 6, 0))) == ["A"], "5 + 6 for the first response"
    assert pooled(((5, 3, 0), (6, 2, 0))) == ["B"], "3 + 6 for the second"


def test_a_judge_that_only_sees_positions_has_no_pooled_verdict():
    assert pooled(((8, 0, 0), (8, 0, 0))) == [None]


def test_ties_have_a_say():
    assert pooled(((1, 0, 3), (0, 1, 2))) == ["TIE"]


def test_no_vote_has_no_verdict():
    assert pooled(((0, 0, 0), (0, 0, 0))) == [None]


@given(first=counts, second=counts)
def test_exchanging_the_responses_exchanges_the_pooled_verdict(first, second):
    [forth], [back] = pooled((first, second)), pooled((second, first))
    assert back == turned(forth)


@given(as_given=answers, swapped=answers)
def test_exchanging_the_responses_exchanges_the_combined_verdict(as_given, swapped):
    assert combined(swapped, as_given) == turned(combined(as_given, swapped))


@pytest.mark.parametrize(
    ("as_given", "swapped", "expected"),
    [
        ("A", "B", "A"),
        ("B", "A", "B"),
        ("A", "A", "TIE"),
        ("TIE", "TIE", "TIE"),
        ("A", "TIE", "TIE"),
        ("A", None, None),
        (None, None, None),
    ],
)
def test_a_response_wins_only_if_it_wins_in_both_orders(as_given, swapped, expected):
    assert combined(as_given, swapped) == expected


def test_labels_are_given_in_the_order_of_the_benchmark():
    assert combined_verdicts(verdicts([("B", "A", "A")]).reverse())["label"].to_list() == ["B"]


def votes(*rows: tuple[str, int, int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["label", "votes_a", "votes_b", "votes_tie", "votes_invalid"], orient="row")


def test_single_sample_accuracy_counts_every_vote_and_invalid_ones_as_not_right():
    assert single_sample_accuracy(votes(("A", 6, 1, 0, 1), ("B", 1, 2, 0, 5), ("TIE", 1, 2, 4, 1))) == 12 / 24


def test_single_sample_accuracy_of_no_votes_is_refused():
    with pytest.raises(ValueError, match="no vote"):
        single_sample_accuracy(votes(("A", 0, 0, 0, 0)))
