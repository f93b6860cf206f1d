"""What a judge can be asked, and what it answers.

Belongs here: questions and answers as values, which questions can be asked, and how votes become an answer. Not here:
sampling the votes (voting.py).
"""

from collections.abc import Sequence
from numbers import Real
from typing import Literal, NamedTuple

from selftaught_assets.errors import UserError
from selftaught_assets.method.verdicts import Verdict
from selftaught_assets.method.votes import majority, pooled

VOTES = 32
"""Votes for each order where nothing else is said: the paper's number."""
MOST_VOTES = 1024

Order = Literal["AB", "BA"]
"""How the responses were shown: as given, or swapped."""


class PairQuestion(NamedTuple):
    """Which of two responses is better. One vote is one greedy judgment; more are sampled."""

    instruction: str
    response_a: str
    response_b: str
    votes: int = VOTES
    """In each order."""
    both_orders: bool = False
    abstain_below: float = 0.0
    """Confidence, in [0, 1], below which the judge abstains. Above 0 all votes are cast: the share of votes up to the
    decision would not be comparable."""


class ResponseQuestion(NamedTuple):
    """How good a single response is. One vote is one greedy judgment; more are sampled."""

    instruction: str
    response: str
    votes: int = VOTES


Question = PairQuestion | ResponseQuestion


def text_problem(name: str, text: object) -> str | None:
    """Why something is no text to judge; None where it is."""
    if not isinstance(text, str):
        return f"{name} must be text, not {type(text).__name__}"
    if not text.strip():
        return f"{name} is empty"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return f"{name} holds half of a surrogate pair, which is no text"
    return None


def require_settings(votes: object, abstain_below: object = 0.0) -> None:
    """Raises UserError for a number of votes, or a confidence, that cannot be."""
    if not isinstance(votes, int) or isinstance(votes, bool) or not 1 <= votes <= MOST_VOTES:
        raise UserError(f"The number of votes must lie between 1 and {MOST_VOTES} and be whole, not {votes!r}.")
    if not isinstance(abstain_below, Real) or not 0 <= abstain_below <= 1:
        raise UserError(f"The confidence to abstain below must lie between 0 and 1, not {abstain_below!r}.")


def question_problem(question: Question) -> str | None:
    """Why a judge cannot be asked this, whatever the judge; None where it can."""
    names = ("instruction", *(name for name in question._fields if name.startswith("response")))
    return next((problem for name in names if (problem := text_problem(name, getattr(question, name)))), None)


class Judgment(NamedTuple):
    """One judgment of a pair."""

    order: Order
    text: str
    """As the judge wrote it: in order BA it calls the second response A."""
    verdict: Verdict
    """In the names of the question, also in order BA."""


class Comparison(NamedTuple):
    """The verdict on a pair, and the votes that it comes from: those that were cast until it was decided."""

    verdict: Verdict
    confidence: float
    """Share of the votes cast that are for the verdict, in [0, 1]; 0 where no vote is valid."""
    votes_a: int
    votes_b: int
    votes_tie: int
    votes_invalid: int
    abstained: bool
    """Whether the confidence is below the threshold that was asked for."""
    judgments: tuple[Judgment, ...]


class Score(NamedTuple):
    """The score of a single response."""

    score: float | None
    """Mean of the valid ratings, 1 to 10; None where there is none."""
    ratings: tuple[int | None, ...]
    """Of each judgment; None is invalid."""
    judgments: tuple[str, ...]


def comparison(
    texts: Sequence[Sequence[str]], verdicts: Sequence[Sequence[Verdict]], abstain_below: float = 0.0
) -> Comparison:
    """The answer to a pair's question.

    Args:
        texts: judgments of order AB, and of order BA where both were asked.
        verdicts: of the texts, in the names that the judge saw.
        abstain_below: as in `PairQuestion`.
    """
    votes = in_one_row(verdicts)
    orders: tuple[Order, ...] = ("AB", "BA")
    shown = [(order, text) for row in zip(*texts, strict=True) for order, text in zip(orders, row, strict=False)]
    verdict = majority(votes)
    confidence = 0.0 if verdict is Verdict.INVALID else votes.count(verdict) / len(votes)
    return Comparison(
        verdict=verdict,
        confidence=confidence,
        votes_a=votes.count(Verdict.A),
        votes_b=votes.count(Verdict.B),
        votes_tie=votes.count(Verdict.TIE),
        votes_invalid=votes.count(Verdict.INVALID),
        abstained=confidence < abstain_below,
        judgments=tuple(Judgment(*judgment, vote) for judgment, vote in zip(shown, votes, strict=True)),
    )


def in_one_row(verdicts: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """The votes of one order, or of both in turn with those of order BA swapped back."""
    return list(verdicts[0]) if len(verdicts) == 1 else list(pooled(*verdicts))


def score_of(texts: Sequence[str], ratings: Sequence[int | None]) -> Score:
    """The answer to a single response's question."""
    valid = [rating for rating in ratings if rating is not None]
    return Score(sum(valid) / len(valid) if valid else None, tuple(ratings), tuple(texts))
