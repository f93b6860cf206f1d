import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import Verdict, swap
from selftaught_assets.method.votes import Standing, best, games, standings

A, B, TIE, INVALID = Verdict


def tournament(k: int):
    played = games(k)
    outcomes = st.lists(st.sampled_from(list(Verdict)), min_size=len(played), max_size=len(played))
    return st.tuples(st.just(k), outcomes.map(lambda verdicts: dict(zip(played, verdicts, strict=True))))


tournaments = st.integers(2, 5).flatmap(tournament)


def test_everyone_plays_everyone_in_both_orders():
    assert games(3) == [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    assert games(3, both_orders=False) == [(0, 1), (0, 2), (1, 2)]


@given(strengths=st.permutations(range(5)))
def test_a_consistent_judge_ranks_by_strength(strengths):
    verdicts = {(a, b): A if strengths[a] > strengths[b] else B for a, b in games(5)}
    ranking = [row.candidate for row in standings(5, verdicts)]
    assert [strengths[candidate] for candidate in ranking] == [4, 3, 2, 1, 0]


def test_a_judge_of_nothing_but_the_position_ranks_nobody():
    assert {row.points for row in standings(4, dict.fromkeys(games(4), A))} == {3.0}


def test_a_tie_is_half_a_point_and_an_invalid_verdict_none():
    table = standings(3, {(0, 1): TIE, (0, 2): INVALID, (1, 2): B})
    assert table == [Standing(2, 1.0, 1, 0, 0, 1), Standing(0, 0.5, 0, 1, 0, 1), Standing(1, 0.5, 0, 1, 1, 0)]


def test_equal_points_are_decided_by_the_games_among_the_equal():
    verdicts = {(0, 1): B, (0, 2): A, (0, 3): A, (1, 2): B, (1, 3): A, (2, 3): B}
    points = {row.candidate: row.points for row in standings(4, verdicts)}
    assert points == {0: 2.0, 1: 2.0, 2: 1.0, 3: 1.0}
    assert [row.candidate for row in standings(4, verdicts)] == [1, 0, 3, 2]


@given(tournament=tournaments)
def test_every_game_gives_one_point_unless_it_is_invalid(tournament):
    k, verdicts = tournament
    table = standings(k, verdicts)
    assert sum(row.points for row in table) == sum(verdict is not INVALID for verdict in verdicts.values())
    assert all(row.wins + row.ties + row.losses + row.invalid == 2 * (k - 1) for row in table)
    assert best(k, verdicts) == max(table, key=lambda row: row.points).candidate


@given(tournament=tournaments)
def test_swapping_the_places_of_every_game_changes_nothing(tournament):
    k, verdicts = tournament
    assert standings(k, {(b, a): swap(verdict) for (a, b), verdict in verdicts.items()}) == standings(k, verdicts)


@pytest.mark.parametrize("game", [(0, 3), (-1, 0), (1, 1)])
def test_a_game_of_nobody_is_refused(game):
    with pytest.raises(ValueError, match="There is no game"):
        standings(3, {game: A})


def test_one_response_cannot_be_compared():
    with pytest.raises(ValueError, match="it takes two"):
        games(1)
