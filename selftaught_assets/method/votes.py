"""The majority of several verdicts, and the best of k responses by verdicts on two.

The majority of several verdicts.

A majority vote decides at inference (paper: 88.3 → 88.7 on RewardBench with 32 samples). Invalid votes are counted
but have no say. Where several verdicts lead with equally many votes, the one that was voted for first is taken:
samples are independent draws, so this is an unbiased choice that needs no further randomness.

The best of k responses by a judge that compares two: everyone plays everyone.

The paper compares two responses only; this is ours.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations, zip_longest
from typing import NamedTuple

import polars as pl

from selftaught_assets.method.verdicts import Verdict, swap

_SIDES = (Verdict.A, Verdict.B, Verdict.TIE)


def majority(votes: Sequence[Verdict]) -> Verdict:
    """The verdict with the most votes, the earliest of those that lead together; INVALID if no vote is valid."""
    return max(_first_votes(votes), key=votes.count, default=Verdict.INVALID)


def is_decided(votes: Sequence[Verdict], n: int) -> bool:
    """Whether the `majority` of n votes is certain after these, whatever the others will be.

    The paper casts all 32 votes; to stop here gives the same verdict for less. A rival that can only draw level loses
    if its first vote came later than the leader's. The vote *share* of the full vote is not certain, only its verdict.

    Raises:
        ValueError: there are more than n votes already.
    """
    to_come = n - len(votes)
    if to_come < 0:
        raise ValueError(f"{len(votes)} votes are more than the {n} to be cast.")
    voted = _first_votes(votes)
    if not voted:
        return to_come == 0
    leader = majority(votes)
    earlier = voted[: voted.index(leader)]
    # A side without a vote has all the votes to come, at most, and would have its first vote later than the leader.
    return all(
        votes.count(rival) + to_come + (rival in earlier) <= votes.count(leader)
        for rival in _SIDES
        if rival is not leader
    )


def pooled(votes_ab: Sequence[Verdict], votes_ba: Sequence[Verdict]) -> list[Verdict]:
    """The votes on a pair in both orders together, as votes on its order AB, taken in turn.

    A judge that favours a position does so once for either response, so its preference cancels in the counts. (The
    paper reports each order by itself; pooling them is ours.) A judge of nothing but the position ends in a draw,
    margin 0; a draw is decided by the earliest vote, which was cast on the order AB: abstain there if that matters.
    """
    turns = zip_longest(votes_ab, map(swap, votes_ba))
    return [vote for vote in chain.from_iterable(turns) if vote is not None]


def count_votes(judgments: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """`majority` of every group of rows.

    Args:
        judgments: the columns `by`, sample_index, and verdict (A, B, TIE, or null for invalid).
        by: columns that tell the groups apart, such as item_id and order.

    Returns:
        `by`, votes_a, votes_b, votes_tie, votes_invalid, and verdict (null where no vote is valid); one row for each
        group, in the order in which groups first occur.
    """
    vote = pl.col("verdict")
    counted = judgments.group_by(by, maintain_order=True).agg(
        *((vote == side.value).sum().cast(pl.Int64).alias(f"votes_{side.lower()}") for side in _SIDES),
        vote.is_null().sum().cast(pl.Int64).alias("votes_invalid"),
    )
    tally = (
        judgments.drop_nulls("verdict")
        .group_by(*by, "verdict")
        .agg(pl.len().alias("votes"), pl.col("sample_index").min().alias("first"))
    )
    leaders = tally.sort("votes", "first", descending=[True, False]).unique(by, keep="first", maintain_order=True)
    return counted.join(leaders.select(*by, "verdict"), on=by, how="left", maintain_order="left", validate="1:1")


def _first_votes(votes: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that were voted for, each once, in the order of their first vote."""
    return list(dict.fromkeys(vote for vote in votes if vote is not Verdict.INVALID))


class Standing(NamedTuple):
    """One response's place in the table."""

    candidate: int
    points: float
    """One for each game won, one half for a tie; an invalid verdict gives nobody anything."""
    wins: int
    ties: int
    losses: int
    invalid: int


def games(k: int, *, both_orders: bool = True) -> list[tuple[int, int]]:
    """Who plays whom: the first of the two stands at A. In both orders every pair meets twice, and no place is better.

    Raises:
        ValueError: fewer than two candidates.
    """
    if k < 2:
        raise ValueError(f"{k} candidates cannot be compared; it takes two.")
    once = list(combinations(range(k), 2))
    return [game for a, b in once for game in ((a, b), (b, a))] if both_orders else once


def standings(k: int, verdicts: Mapping[tuple[int, int], Verdict]) -> list[Standing]:
    """The table of a tournament, the best response first.

    Responses with equal points are ranked by the points of the games among themselves; whoever is equal there too (a
    circle of wins, or ties throughout) keeps the order in which the responses were given.

    Args:
        k: number of responses.
        verdicts: by game, as `games` lists them; games may be missing.

    Raises:
        ValueError: a game is not between two of the k responses.
    """
    for a, b in verdicts:
        if a == b or not {a, b} <= set(range(k)):
            raise ValueError(f"There is no game of {a} against {b} among {k} responses.")
    table = [_standing(candidate, verdicts) for candidate in range(k)]
    group = {row.candidate: {other.candidate for other in table if other.points == row.points} for row in table}
    among = {
        row.candidate: _standing(
            row.candidate, {game: verdict for game, verdict in verdicts.items() if set(game) <= group[row.candidate]}
        ).points
        for row in table
    }
    return sorted(table, key=lambda row: (-row.points, -among[row.candidate], row.candidate))


def best(k: int, verdicts: Mapping[tuple[int, int], Verdict]) -> int:
    """The candidate at the head of `standings`."""
    return standings(k, verdicts)[0].candidate


def _standing(candidate: int, verdicts: Mapping[tuple[int, int], Verdict]) -> Standing:
    seen = [verdict if a == candidate else swap(verdict) for (a, b), verdict in verdicts.items() if candidate in (a, b)]
    wins, ties, losses, invalid = map(seen.count, (Verdict.A, Verdict.TIE, Verdict.B, Verdict.INVALID))
    return Standing(candidate, wins + ties / 2, wins, ties, losses, invalid)
