"""The verdict of several votes, when it is certain, and the best of k responses by verdicts on two.

A majority vote decides at inference (paper: 88.3 → 88.7 on RewardBench with 32 samples). Invalid votes are counted
but have no say. There are two rules for a draw:

- Votes on a pair in one order: the verdict that was voted for first wins. Samples are independent draws, so this is an
  unbiased choice that needs no further randomness.
- Votes in both orders together (ours): there is no verdict. Neither order comes first, so nothing would decide but
  chance. A judge that favours a position does so once for either response, so its preference cancels in the counts.

The paper casts all votes. A vote may end as soon as `leader` names a verdict whatever the votes to come are: it is that
of all votes. The *shares* of the votes are not certain then.

The best of k responses is found by comparing everyone with everyone, which is ours too: the paper compares two.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

import polars as pl

from selftaught_assets.method.verdicts import Verdict, swap

COUNTS = ("votes_a", "votes_b", "votes_tie", "votes_invalid")
_SIDES = ("A", "B", "TIE")
AnyFrame = TypeVar("AnyFrame", pl.DataFrame, pl.LazyFrame)


def count_votes(judgments: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """The majority of every group of rows.

    Args:
        judgments: the columns `by`, sample_index, and verdict (A, B, TIE, or null for invalid).
        by: columns that tell the groups apart, such as item_id and order.

    Returns:
        `by`, `COUNTS`, and verdict (null where no vote is valid); one row for each group, in the order in which groups
        first occur.
    """
    return tally(judgments, by).select(*by, *COUNTS, verdict=leader())


def tally(judgments: AnyFrame, by: Sequence[str]) -> AnyFrame:
    """As `count_votes`, with first_a, first_b and first_tie, the lowest sample index of a vote, in place of verdict."""
    vote, index = pl.col("verdict"), pl.col("sample_index")
    return judgments.group_by(by, maintain_order=True).agg(
        *((vote == side).sum().cast(pl.Int64).alias(f"votes_{side.lower()}") for side in _SIDES),
        *(index.filter(vote == side).min().alias(f"first_{side.lower()}") for side in _SIDES),
        votes_invalid=vote.is_null().sum().cast(pl.Int64),
    )


def leader(to_come: pl.Expr | int = 0, *, both_orders: bool = False) -> pl.Expr:
    """The verdict that wins whatever the votes to come are; null while there is none.

    A rival that can only draw level loses if its first vote came later. A side without a vote gets all the votes to
    come, at most, and would have its first one later than the leader.

    Args:
        to_come: votes that are still to be cast; with 0 this is the verdict of the votes in the row.
        both_orders: whether a draw has no verdict, so that a rival must not draw level.

    Returns:
        An expression over the columns of `tally`; over `COUNTS` alone for both orders.
    """
    return pl.coalesce(
        pl.when(
            pl.col(f"votes_{side}") > 0,
            *(
                pl.col(f"votes_{rival}") + to_come + (1 if both_orders else _came_first(rival, side))
                <= pl.col(f"votes_{side}")
                for rival in map(str.lower, _SIDES)
                if rival != side
            ),
        ).then(pl.lit(side.upper()))
        for side in map(str.lower, _SIDES)
    )


def next_batch(to_come: pl.Expr) -> pl.Expr:
    """How many votes are cast next: the fewest that can decide, if all are for the leader.

    Most pairs are clear, so the first batch decides most of them, and each further one as many as it can.

    Args:
        to_come: votes that are still to be cast.

    Returns:
        An expression over `COUNTS`; 0 where no vote is left.
    """
    ahead = pl.concat_list(COUNTS[:3]).list.sort(descending=True)
    return pl.min_horizontal(to_come, (to_come - ahead.list.get(0) + ahead.list.get(1)) // 2 + 1)


def _came_first(rival: str, side: str) -> pl.Expr:
    return (pl.col(f"first_{rival}") < pl.col(f"first_{side}")).fill_null(False).cast(pl.Int64)


class Standing(NamedTuple):
    """One response's place in the table."""

    candidate: int
    points: float
    """One for each game won, one half for a tie; an invalid verdict gives neither any."""
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

    Responses with equal points are ranked by the points of the games among themselves; those equal there too (a circle
    of wins, or ties throughout) keep the order in which the responses were given.

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
