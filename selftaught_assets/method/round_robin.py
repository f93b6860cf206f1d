"""The best of k responses by a judge that compares two: everyone plays everyone.

Belongs here: who plays whom, and the table of a tournament. Not here: asking the judge and reading its verdicts. The
paper compares two responses only; this is ours.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

from selftaught_assets.method.verdicts import Verdict, swap


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
