import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import Verdict, swap
from selftaught_assets.method.votes import count_votes, majority

A, B, INVALID = Verdict
streams = st.lists(st.sampled_from(list(Verdict)), max_size=12)
SCHEMA = {"item_id": pl.String, "order": pl.String, "sample_index": pl.Int64, "verdict": pl.String}


def table(groups: dict[tuple[str, str], list[Verdict]]) -> pl.DataFrame:
    rows = [
        (*group, index, None if vote is INVALID else vote.value)
        for group, votes in groups.items()
        for index, vote in enumerate(votes)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        ([], INVALID),
        ([INVALID, INVALID], INVALID),
        ([A], A),
        ([A, B, B], B),
        ([INVALID, INVALID, INVALID, B], B),
        ([A, B], A),
        ([INVALID, B, A], B),
        ([B, A, A, B], B),
    ],
)
def test_more_valid_votes_win_and_a_tie_goes_to_the_first_valid_vote(votes, verdict):
    assert majority(votes) is verdict


@given(votes=streams)
def test_swapping_every_vote_swaps_the_majority(votes):
    assert majority([swap(vote) for vote in votes]) is swap(majority(votes))


@given(votes=streams)
def test_invalid_votes_have_no_say(votes):
    assert majority([vote for vote in votes if vote is not INVALID]) is majority(votes)


groups = st.dictionaries(st.tuples(st.sampled_from("123"), st.sampled_from(["AB", "BA"])), streams.filter(bool))


@given(groups=groups, shuffle=st.randoms())
def test_a_table_is_counted_like_each_of_its_groups_in_whatever_order_rows_come(groups, shuffle):
    frame = table(groups)
    rows = list(range(frame.height))
    shuffle.shuffle(rows)
    counted = count_votes(frame[rows], by=["item_id", "order"])
    assert counted.height == len(groups)
    for row in counted.iter_rows(named=True):
        votes = groups[row["item_id"], row["order"]]
        assert (row["votes_a"], row["votes_b"], row["votes_invalid"]) == tuple(map(votes.count, Verdict))
        assert row["verdict"] == (None if majority(votes) is INVALID else majority(votes).value)


def test_groups_come_in_the_order_of_their_first_row():
    counted = count_votes(table({("2", "AB"): [A], ("1", "AB"): [B], ("1", "BA"): [B]}), by=["item_id", "order"])
    assert counted.select("item_id", "order").rows() == [("2", "AB"), ("1", "AB"), ("1", "BA")]
