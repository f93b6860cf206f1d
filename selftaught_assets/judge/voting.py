"""What a judge can be asked, and its answer: votes sampled in waves until each question is decided.

What a judge can be asked, and what it answers.

Sampling votes in waves, until each question is decided.

Most pairs are clear. So the first wave is the smallest number of votes that can decide a pair, and each further one
the smallest that still can; when nothing can change the majority any more, the rest is not sampled. The verdict is
that of all votes, always.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Literal, NamedTuple

from selftaught_assets.engines.journalled import GenerationTask, Progress, generate
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.prompts import judge_messages, score_messages
from selftaught_assets.method.verdicts import Verdict, parse_rating, parse_verdict
from selftaught_assets.method.votes import is_decided, majority, pooled
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import Journal, MemoryJournal

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


Answer = Comparison | Score | UserError
"""A UserError stands where a question cannot be asked, since it lacks a text or its prompt is longer than the model's
context, or where the engine gave up on one of its judgments."""


class VotingProgress(NamedTuple):
    """How far the judging is."""

    settled: int
    questions: int
    judgments: int
    """Sampled or remembered so far."""
    tokens_per_second: float
    """Of the wave that is sampled now."""


def answer(
    engine: Engine,
    journal: Journal | MemoryJournal,
    recipe: Recipe,
    questions: Sequence[Question],
    on_progress: Callable[[VotingProgress], None],
) -> list[Answer]:
    """Answers every question, in their order; an answer does not depend on the others.

    Raises:
        UserError: a question asks for a score and the recipe has no prompt for it, or for an impossible number of
            votes; or the disk is full.
    """
    problems = [question_problem(question) for question in questions]
    ballots = [
        _Ballot(str(place), recipe, question)
        for place, (question, problem) in enumerate(zip(questions, problems, strict=True))
        if problem is None
    ]
    waiting = ballots
    while waiting:
        for greedy in (True, False):
            group = [ballot for ballot in waiting if ballot.is_greedy is greedy]
            _cast(engine, journal, recipe, greedy, group, _reporting(ballots, on_progress))
        waiting = [ballot for ballot in waiting if not ballot.is_settled]
    given = iter([ballot.answer() for ballot in ballots])
    return [UserError(f"The judge cannot be asked: {problem}.") if problem else next(given) for problem in problems]


def next_wave(votes: Sequence[Verdict], n: int) -> int:
    """How many more votes are sampled: the fewest that can decide, if all are for the leader; 0 if none is left."""
    left = n - len(votes)
    _, second, first = sorted(votes.count(verdict) for verdict in (Verdict.A, Verdict.B, Verdict.TIE))
    return min(left, (left - first + second) // 2 + 1)


class _Ballot:
    """A question, and the judgments that it has so far."""

    def __init__(self, name: str, recipe: Recipe, question: Question) -> None:
        require_settings(question.votes, question.abstain_below if isinstance(question, PairQuestion) else 0.0)
        self.is_greedy = question.votes == 1
        self._recipe = recipe
        self._question = question
        self._prompts = _prompts(recipe, question)
        self._names = [f"{name}/{order}" for order in range(len(self._prompts))]
        self._texts: list[list[str]] = [[] for _ in self._prompts]
        self._verdicts: list[list[Verdict]] = [[] for _ in self._prompts]
        self._too_long = False
        self._failure: str | None = None

    def tasks(self) -> list[GenerationTask]:
        n = len(self._texts[0]) + self._next_wave()
        return [
            GenerationTask(name, messages, n, seed)
            for name, (messages, seed) in zip(self._names, self._prompts, strict=True)
        ]

    def take(self, completions: dict[str, list[tuple[str, str, str | None]]]) -> None:
        """Takes the texts, finish reasons and errors of all judgments so far, by the tasks' names."""
        for order, name in enumerate(self._names):
            self._texts[order] = [text for text, _, _ in completions[name]]
            self._too_long |= completions[name][0][1] == "prompt_too_long"
            self._failure = next((error for _, _, error in completions[name] if error), self._failure)
        if isinstance(self._question, PairQuestion):
            form, ties = self._recipe.verdicts.format, self._recipe.verdicts.ties
            self._verdicts = [[parse_verdict(text, form, ties=ties) for text in texts] for texts in self._texts]

    @property
    def _casts_all(self) -> bool:
        """Whether all votes are cast, also where the verdict is decided earlier."""
        return not isinstance(self._question, PairQuestion) or self._question.abstain_below > 0

    @property
    def judgments(self) -> int:
        return sum(map(len, self._texts))

    @property
    def is_settled(self) -> bool:
        if self._too_long or self._failure or len(self._texts[0]) == self._question.votes:
            return True
        if self._casts_all:
            return False
        return self.judgments > 0 and is_decided(in_one_row(self._verdicts), self._question.votes * len(self._texts))

    def answer(self) -> Answer:
        if self._too_long:
            return UserError("The texts are too long for the judge: its prompt does not fit into the model's context.")
        if self._failure:
            return UserError(f"A judgment could not be had ({self._failure.rstrip('.')}): ask again.")
        if isinstance(self._question, PairQuestion):
            return comparison(self._texts, self._verdicts, self._question.abstain_below)
        (texts,) = self._texts
        return score_of(texts, [parse_rating(text) for text in texts])

    def _next_wave(self) -> int:
        """Votes of each order."""
        if self._casts_all:
            return self._question.votes
        orders = len(self._texts)
        return -(-next_wave(in_one_row(self._verdicts), self._question.votes * orders) // orders)


def _prompts(recipe: Recipe, question: Question) -> list[tuple[list[dict[str, str]], int]]:
    """Messages and seed of each order. The seed is of what is shown, so equal questions get equal answers."""
    templates = recipe.templates
    try:
        if isinstance(question, PairQuestion):
            orders = [(question.response_a, question.response_b), (question.response_b, question.response_a)]
            asked = [(question.instruction, *shown) for shown in orders[: 1 + question.both_orders]]
            ties = recipe.verdicts.ties
            return [(judge_messages(templates, *shown, ties=ties), _seed(recipe, *shown)) for shown in asked]
        if templates.score is None:
            raise UserError(
                f"Recipe {recipe.name} has no prompt for scoring a single response: add score.jinja to its prompts."
            )
        asked = question.instruction, question.response
        return [(score_messages(templates, *asked), _seed(recipe, *asked))]
    except ValueError as error:
        raise UserError(f"Recipe {recipe.name}: {error}") from None


def _seed(recipe: Recipe, *shown: str) -> int:
    return derive_seed(recipe.seed, "use", *shown)


def _sampling(recipe: Recipe, *, greedy: bool) -> SamplingParameters:
    sampling = recipe.evaluation.sampling
    return sampling.model_copy(update={"temperature": 0.0, "top_p": 1.0}) if greedy else sampling


def _cast(
    engine: Engine,
    journal: Journal | MemoryJournal,
    recipe: Recipe,
    greedy: bool,
    ballots: Sequence[_Ballot],
    on_progress: Callable[[Progress], None],
) -> None:
    """Samples the next wave of some ballots."""
    if not ballots:
        return
    tasks = [task for ballot in ballots for task in ballot.tasks()]
    sampling = _sampling(recipe, greedy=greedy)
    frame = generate(engine, journal, tasks, sampling, on_progress, recipe.template_date).frame
    completions: dict[str, list[tuple[str, str, str | None]]] = {}
    for name, *completion in frame.select("request_id", "text", "finish_reason", "error").iter_rows():
        completions.setdefault(name, []).append(tuple(completion))
    for ballot in ballots:
        ballot.take(completions)


def _reporting(ballots: Sequence[_Ballot], on_progress: Callable[[VotingProgress], None]) -> Callable[[Progress], None]:
    """Tells how far all questions are, whenever the engine tells how far its wave is."""
    settled = sum(ballot.judgments > 0 and ballot.is_settled for ballot in ballots)
    done = sum(ballot.judgments for ballot in ballots if ballot.judgments and ballot.is_settled)

    def report(progress: Progress) -> None:
        on_progress(VotingProgress(settled, len(ballots), done + progress.done, progress.tokens_per_second))

    return report
