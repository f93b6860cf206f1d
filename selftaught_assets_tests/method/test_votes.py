from collections.abc import Sequence
from itertools import product

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import Verdict, swap
from selftaught_assets.method.votes import count_votes, leader, next_batch, tally

A, B, TIE, INVALID = Verdict
streams = st.lists(st.sampled_from(list(Verdict)), max_size=12)
SCHEMA = {"item_id": pl.String, "order": pl.String, "sample_index": pl.Int64, "verdict": pl.String}


def table(groups: dict[tuple[str, str], Sequence[Verdict]]) -> pl.DataFrame:
    rows = [
        (*group, index, None if vote is INVALID else vote.value)
        for group, votes in groups.items()
        for index, vote in enumerate(votes)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def certain(streams: Sequence[Sequence[Verdict]], to_come: int = 0, *, both_orders: bool = False) -> list[Verdict]:
    """The leader of each of these votes, none of which is empty; INVALID while there is none."""
    counted = tally(table({(str(place), "AB"): votes for place, votes in enumerate(streams)}), by=["item_id"])
    named = counted.select(leader(to_come, both_orders=both_orders)).to_series()
    return [INVALID if name is None else Verdict(name) for name in named]


def majority(votes: Sequence[Verdict]) -> Verdict:
    """The verdict of votes on one order, as the rule is said in a sentence."""
    valid = [vote for vote in votes if vote is not INVALID]
    return max(dict.fromkeys(valid), key=valid.count, default=INVALID)


def pooled(votes: Sequence[Verdict]) -> Verdict:
    """The verdict of votes on both orders together."""
    counts = sorted(((votes.count(side), side) for side in (A, B, TIE)), reverse=True)
    return counts[0][1] if counts[0][0] > counts[1][0] else INVALID


RULES = [(False, majority), (True, pooled)]


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
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
    assert certain([votes]) == [verdict]


@pytest.mark.parametrize(("both_orders", "rule"), RULES)
@given(votes=st.lists(streams.filter(bool), min_size=1, max_size=6))
def test_the_verdict_is_that_of_the_rule(both_orders, rule, votes):
    assert certain(votes, both_orders=both_orders) == list(map(rule, votes))


@pytest.mark.parametrize("both_orders", [False, True])
@given(votes=streams.filter(bool))
def test_swapping_every_vote_swaps_the_verdict(both_orders, votes):
    given_and_swapped = [votes, [swap(vote) for vote in votes]]
    one, other = certain(given_and_swapped, both_orders=both_orders)
    assert other is swap(one)


@given(votes=streams.filter(bool))
def test_invalid_votes_have_no_say(votes):
    valid = [vote for vote in votes if vote is not INVALID]
    assert certain([votes]) == (certain([valid]) if valid else [INVALID])


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


@pytest.mark.parametrize(("both_orders", "rule"), RULES)
@given(votes=streams.filter(lambda votes: 0 < len(votes) < 6), more=st.integers(0, 3))
def test_a_verdict_is_certain_exactly_when_no_votes_to_come_could_change_it(both_orders, rule, votes, more):
    futures = {rule([*votes, *future]) for future in product(Verdict, repeat=more)}
    (found,) = certain([votes], more, both_orders=both_orders)
    assert found is (futures.pop() if len(futures) == 1 else INVALID)


@pytest.mark.parametrize(
    ("votes", "to_come", "verdict"),
    [
        ([A, A], 1, A),
        ([A, A], 2, A),
        ([A, A], 3, INVALID),
        ([B, A, A], 1, INVALID),
        ([A, B, A], 1, A),
        ([A, B, TIE], 0, A),
    ],
)
def test_a_rival_that_can_only_draw_level_loses_if_its_first_vote_came_later(votes, to_come, verdict):
    assert certain([votes], to_come) == [verdict]


def test_in_both_orders_together_a_rival_must_not_even_draw_level():
    assert certain([[A, A]], 2, both_orders=True) == [INVALID]
    assert certain([[A, A, A]], 2, both_orders=True) == [A]
    assert certain([[A, B]], both_orders=True) == [INVALID]


@given(votes=streams.filter(bool), to_come=st.integers(1, 20))
def test_a_batch_is_the_fewest_votes_that_can_decide_if_all_are_for_the_leader(votes, to_come):
    assume(certain([votes], to_come, both_orders=True) == [INVALID])
    best = pooled(votes) if pooled(votes) is not INVALID else max((A, B, TIE), key=votes.count)
    futures = [certain([[*votes, *[best] * n]], to_come - n, both_orders=True)[0] for n in range(to_come + 1)]
    (batch,) = tally(table({("1", "AB"): votes}), by=["item_id"]).select(next_batch(pl.lit(to_come))).to_series()
    assert 1 <= batch <= to_come
    assert futures.index(best) == batch if best in futures else batch == to_come
