from itertools import product

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import Verdict, swap
from selftaught_assets.method.votes import count_votes, is_decided, majority, pooled

A, B, TIE, INVALID = Verdict
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
        ([TIE, A, A], A),
        ([A, TIE, TIE, B], TIE),
        ([B, TIE, TIE, A, A], TIE),
        ([TIE], TIE),
        ([A, B, TIE], A),
    ],
)
def test_the_most_votes_win_and_of_those_that_lead_together_the_earliest(votes, verdict):
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
        assert tuple(row[f"votes_{side}"] for side in ("a", "b", "tie", "invalid")) == tuple(map(votes.count, Verdict))
        assert row["verdict"] == (None if majority(votes) is INVALID else majority(votes).value)


def test_groups_come_in_the_order_of_their_first_row():
    counted = count_votes(table({("2", "AB"): [A], ("1", "AB"): [B], ("1", "BA"): [B]}), by=["item_id", "order"])
    assert counted.select("item_id", "order").rows() == [("2", "AB"), ("1", "AB"), ("1", "BA")]


@given(votes=streams, cast=st.integers(0, 12))
def test_a_decided_vote_has_the_verdict_of_the_full_vote(votes, cast):
    first = votes[:cast]
    if is_decided(first, len(votes)):
        assert majority(first) is majority(votes)


@given(votes=streams.filter(lambda votes: len(votes) < 6), more=st.integers(0, 3))
def test_an_undecided_vote_could_still_turn(votes, more):
    futures = {majority([*votes, *future]) for future in product(Verdict, repeat=more)}
    assert is_decided(votes, len(votes) + more) == (len(futures) == 1)


@pytest.mark.parametrize(
    ("votes", "n", "decided"),
    [
        ([], 0, True),
        ([], 1, False),
        ([INVALID, INVALID], 2, True),
        ([A, A], 3, True),
        ([A, A], 4, True),
        ([A, A], 5, False),
        ([B, A, A], 4, False),
        ([A, B, A], 4, True),
        ([A, B, TIE], 3, True),
    ],
)
def test_a_vote_is_decided_once_no_rival_can_take_the_lead(votes, n, decided):
    assert is_decided(votes, n) is decided


def test_more_votes_than_are_to_be_cast_are_refused():
    with pytest.raises(ValueError, match="2 votes are more than the 1"):
        is_decided([A, A], 1)


def test_pooling_turns_the_votes_of_the_swapped_order_round_and_takes_them_in_turn():
    assert pooled([A, INVALID], [A, B, TIE]) == [A, B, INVALID, A, TIE]


@given(votes_ab=streams, votes_ba=streams)
def test_exchanging_the_responses_swaps_every_pooled_vote(votes_ab, votes_ba):
    exchanged = [swap(vote) for vote in pooled(votes_ba, votes_ab)]
    assert sorted(exchanged) == sorted(pooled(votes_ab, votes_ba))


@given(n=st.integers(0, 9))
def test_a_judge_of_nothing_but_the_position_comes_to_a_draw(n):
    votes = pooled([A] * n, [A] * n)
    assert votes.count(A) == votes.count(B) == n
