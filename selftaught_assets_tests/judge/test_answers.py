from selftaught_assets.judge.voting import Judgment, comparison, score_of
from selftaught_assets.method.verdicts import Verdict

A, B, INVALID = Verdict.A, Verdict.B, Verdict.INVALID


def test_the_majority_decides_and_its_share_of_all_votes_is_the_confidence() -> None:
    found = comparison([["1", "2", "3", "4"]], [[A, B, A, INVALID]])
    assert (found.verdict, found.confidence) == (A, 0.5)
    assert (found.votes_a, found.votes_b, found.votes_tie, found.votes_invalid) == (2, 1, 0, 1)
    assert found.judgments == tuple(Judgment("AB", text, v) for text, v in zip("1234", (A, B, A, INVALID), strict=True))


def test_votes_of_the_swapped_order_are_swapped_back_before_they_are_pooled() -> None:
    found = comparison([["ab"], ["ba"]], [[A], [B]])
    assert (found.verdict, found.confidence, found.votes_a) == (A, 1.0, 2)
    assert found.judgments == (Judgment("AB", "ab", A), Judgment("BA", "ba", A))


def test_a_judge_that_always_takes_the_first_response_is_of_two_minds() -> None:
    found = comparison([["x"] * 3] * 2, [[A] * 3] * 2)
    assert (found.votes_a, found.votes_b, found.confidence) == (3, 3, 0.5)


def test_without_a_valid_vote_the_verdict_is_invalid_and_nothing_is_believed() -> None:
    found = comparison([["x", "y"]], [[INVALID, INVALID]])
    assert (found.verdict, found.confidence, found.votes_invalid) == (INVALID, 0.0, 2)


def test_a_verdict_that_too_few_votes_are_for_is_an_abstention() -> None:
    texts, votes = [["x"] * 4], [[A, A, B, A]]
    assert comparison(texts, votes, abstain_below=0.8).abstained
    assert not comparison(texts, votes, abstain_below=0.75).abstained
    assert not comparison(texts, votes).abstained


def test_a_score_is_the_mean_of_the_valid_ratings() -> None:
    assert score_of(["x", "y", "z"], [7, None, 8]) == (7.5, (7, None, 8), ("x", "y", "z"))
    assert score_of(["x"], [None]).score is None
