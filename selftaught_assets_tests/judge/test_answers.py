from selftaught_assets.judge.answers import Judgment, comparison, score_of
from selftaught_assets.method.verdicts import Verdict

A, INVALID = Verdict.A, Verdict.INVALID
SAID = (Judgment("AB", "1", A), Judgment("BA", "2", A))


def test_the_share_of_all_votes_that_are_for_the_verdict_is_the_confidence() -> None:
    found = comparison(A, (2, 1, 0, 1), SAID)
    assert (found.verdict, found.confidence) == (A, 0.5)
    assert (found.votes_a, found.votes_b, found.votes_tie, found.votes_invalid) == (2, 1, 0, 1)
    assert found.judgments == SAID


def test_without_a_verdict_nothing_is_believed() -> None:
    assert comparison(INVALID, (0, 0, 0, 2), SAID).confidence == 0.0
    assert comparison(INVALID, (3, 3, 0, 0), SAID).confidence == 0.0, "a draw of both orders"


def test_a_verdict_that_too_few_votes_are_for_is_an_abstention() -> None:
    counts = (3, 1, 0, 0)
    assert comparison(A, counts, SAID, abstain_below=0.8).abstained
    assert not comparison(A, counts, SAID, abstain_below=0.75).abstained
    assert not comparison(A, counts, SAID).abstained


def test_a_score_is_the_mean_of_the_valid_ratings() -> None:
    assert score_of(["x", "y", "z"], [7, None, 8]) == (7.5, (7, None, 8), ("x", "y", "z"))
    assert score_of(["x"], [None]).score is None
