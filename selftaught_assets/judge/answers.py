"""What a judge can be asked, and what it answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Literal, NamedTuple

import polars as pl

from selftaught_assets.engines.asking import Sample, use_requests, votes_until_decided
from selftaught_assets.engines.journalled import Progress, Tasks, generate
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.errors import UserError
from selftaught_assets.method.judging import as_given, count_questions
from selftaught_assets.method.single import rated_pairs, rating_votes
from selftaught_assets.method.verdicts import Verdict, parse_ratings
from selftaught_assets.method.votes import COUNTS
from selftaught_assets.recipe import JudgeSettings
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import Journal, MemoryJournal

VOTES = 32
"""Votes for each order where nothing else is said: the paper's number."""
MOST_VOTES = 1024
MOST_CHARACTERS = 1_000_000
"""Of each text: longer ones are one question's fault, where too long a prompt is the template's."""

Order = Literal["AB", "BA", "A", "B"]
"""What was shown: the responses as given, or swapped; in the single form one of them by itself."""


class PairQuestion(NamedTuple):
    """Which of two responses is better. One vote is one greedy judgment; more are sampled."""

    instruction: str
    response_a: str
    response_b: str
    votes: int = VOTES
    """In each order; of each response in the single form."""
    both_orders: bool = False
    """Means nothing in the single form, which has no order."""
    abstain_below: float = 0.0
    """Confidence, in [0, 1], below which the judge abstains. Above 0 all votes are cast: the share of votes up to the
    decision would not be comparable."""
    pair_id: str | None = None
    """What the random streams belong to; the texts, where it is null. `<benchmark>/<item_id>` gets the votes that
    `evaluation` counted."""
    reference: str | None = None
    """An answer known to be good, for prompts that show one."""


class ResponseQuestion(NamedTuple):
    """How good a single response is. One vote is one greedy judgment; more are sampled."""

    instruction: str
    response: str
    votes: int = VOTES


Question = PairQuestion | ResponseQuestion

OPTIONAL_TEXTS = ("pair_id", "reference")


class Judgment(NamedTuple):
    """One judgment on a pair."""

    order: Order
    text: str
    """As the judge wrote it: in order BA it calls the second response A."""
    verdict: Verdict
    """In the names of the question, also in order BA. In the single form that of two ratings, of either response."""
    elicited: bool = False
    """Whether the judgment had no verdict, and was asked for it; its text ends with it."""


class Comparison(NamedTuple):
    """The verdict on a pair, and the votes that it comes from: those that were cast until it was decided."""

    verdict: Verdict
    """INVALID where no vote is valid, or where those of both orders together are drawn."""
    confidence: float
    """Share of the votes cast that are for the verdict, in [0, 1]; 0 where it is invalid."""
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
    """Of the batch that is sampled now."""


def text_problem(name: str, text: object) -> str | None:
    """Why something is no text to judge; None where it is."""
    if not isinstance(text, str):
        return f"{name} must be text, not {type(text).__name__}"
    if not text.strip():
        return f"{name} is empty"
    if len(text) > MOST_CHARACTERS:
        return f"{name} has {len(text):,} characters, of which at most {MOST_CHARACTERS:,} are read"
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
    texts = {
        name: text
        for name, text in question._asdict().items()
        if name == "instruction" or name.startswith("response") or (name in OPTIONAL_TEXTS and text is not None)
    }
    return next((problem for name, text in texts.items() if (problem := text_problem(name, text))), None)


_QUESTIONS = pl.Schema(
    {
        "question": pl.Int64,
        **dict.fromkeys(("instruction", "response", "response_a", "response_b", *OPTIONAL_TEXTS), pl.String),
        "votes": pl.Int64,
        "both_orders": pl.Boolean,
        "abstain_below": pl.Float64,
    }
)


def answer(
    engine: Engine,
    journal: Journal | MemoryJournal,
    settings: JudgeSettings,
    questions: Sequence[Question],
    on_progress: Callable[[VotingProgress], None],
) -> list[Answer]:
    """Answers every question, in their order; an answer does not depend on the others.

    Raises:
        UserError: a question asks for a score and the recipe has no prompt for it, or for an impossible number of
            votes; or the disk is full.
    """
    problems = {number: problem for number, question in enumerate(questions) if (problem := question_problem(question))}
    asked = {number: question for number, question in enumerate(questions) if number not in problems}
    requests = question_requests(settings, asked)
    votes = votes_until_decided(settings, requests, _sampling(engine, journal, settings, len(asked), on_progress))
    answers = answers_of(settings, requests, votes)
    refused = {number: UserError(f"The judge cannot be asked: {problem}.") for number, problem in problems.items()}
    return [(answers | refused)[number] for number in range(len(questions))]


def question_requests(settings: JudgeSettings, questions: Mapping[int, Question]) -> pl.DataFrame:
    """What to ask the judge about questions without a `question_problem`, by number: `asking.use_requests`.

    Raises:
        UserError: for an impossible number of votes, or confidence.
    """
    rows = []
    for number, question in questions.items():
        row = question._asdict()
        require_settings(row["votes"], row.get("abstain_below", 0.0))
        rows.append({"question": number} | row)
    asked = pl.DataFrame(rows, _QUESTIONS).with_columns(
        n="votes",
        stops_early=(pl.col("abstain_below") == 0).fill_null(False),
        is_pair=pl.col("response").is_null(),
    )
    return use_requests(settings, asked)


def answers_of(settings: JudgeSettings, requests: pl.DataFrame, votes: pl.DataFrame) -> dict[int, Answer]:
    """The answers to questions on which all votes are cast.

    Args:
        settings: for the form of the judgments.
        requests: `question_requests`.
        votes: `judging.VOTE_SCHEMA` on them.
    """
    answers: dict[int, Answer] = dict(_failures(votes))
    requests, votes = (frame.filter(~pl.col("question").is_in(list(answers))) for frame in (requests, votes))
    pairs = requests.filter("is_pair")
    is_of_pair = pl.col("question").is_in(pairs["question"].implode())
    votes = votes.sort("question", "sample_index", "order")
    for (number,), part in votes.filter(~is_of_pair).group_by("question"):
        answers[number] = score_of(part["text"], parse_ratings(part["text"]))
    given, counted = _counted(settings, pairs, votes.filter(is_of_pair))
    judgments = given.group_by("question", maintain_order=True).agg(pl.struct("order", "text", "verdict", "elicited"))
    abstain_below = dict(pairs.select("question", "abstain_below").iter_rows())
    for (number, shown), row in zip(judgments.iter_rows(), counted.iter_rows(named=True), strict=True):
        said = tuple(Judgment(**one | {"verdict": Verdict(one["verdict"] or Verdict.INVALID)}) for one in shown)
        counts = [row[name] for name in COUNTS]
        verdict = Verdict(row["verdict"] or Verdict.INVALID)
        answers[number] = comparison(verdict, counts, said, abstain_below[number])
    return answers


def comparison(
    verdict: Verdict, counts: Sequence[int], judgments: tuple[Judgment, ...], abstain_below: float = 0.0
) -> Comparison:
    """The answer to a pair's question.

    Args:
        verdict: of the votes.
        counts: votes, as in `votes.COUNTS`.
        judgments: that were the votes.
        abstain_below: as in `PairQuestion`.
    """
    leading = dict(zip(Verdict, counts, strict=True))[verdict]
    confidence = 0.0 if verdict is Verdict.INVALID else leading / sum(counts)
    return Comparison(verdict, confidence, *counts, abstained=confidence < abstain_below, judgments=judgments)


def score_of(texts: Iterable[str], ratings: Iterable[int | None]) -> Score:
    """The answer to a single response's question."""
    ratings = tuple(ratings)
    valid = [rating for rating in ratings if rating is not None]
    return Score(sum(valid) / len(valid) if valid else None, ratings, tuple(texts))


def _failures(votes: pl.DataFrame) -> dict[int, UserError]:
    """Questions that have no answer, and why."""
    told = votes.group_by("question").agg(
        (pl.col("finish_reason") == "prompt_too_long").any(), pl.col("error").drop_nulls().first()
    )
    failures = {}
    for number, is_too_long, error in told.iter_rows():
        if is_too_long:
            failures[number] = UserError(
                "The texts are too long for the judge: its prompt does not fit into the model's context."
            )
        elif error is not None:
            failures[number] = UserError(f"A judgment could not be had ({error.rstrip('.')}): ask again.")
    return failures


def _counted(settings: JudgeSettings, requests: pl.DataFrame, votes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The votes in the names of their question, and the counts and the verdict of each question, in one order."""
    if settings.judgments.form != "single":
        return votes.with_columns(verdict=as_given("verdict")), count_questions(requests, votes).sort("question")
    by = ["question"]
    pairs = rating_votes(votes.rename({"order": "side"}).with_columns(parse_ratings(votes["text"])), by)
    verdicts = pairs.select("question", "sample_index", "verdict")
    given = votes.drop("verdict").join(verdicts, on=["question", "sample_index"], maintain_order="left")
    return given, rated_pairs(pairs, by)


def _sampling(
    engine: Engine,
    journal: Journal | MemoryJournal,
    settings: JudgeSettings,
    questions: int,
    on_progress: Callable[[VotingProgress], None],
) -> Callable[[pl.DataFrame], Sample]:
    """Samples through the journal, and tells how far all questions are, as often as the engine tells of its batch."""
    judgments = 0

    def for_open(waiting: pl.DataFrame) -> Sample:
        settled = questions - waiting["question"].n_unique()

        def report(progress: Progress) -> None:
            on_progress(VotingProgress(settled, questions, judgments + progress.done, progress.tokens_per_second))

        def complete(tasks: Tasks, sampling: SamplingParameters) -> pl.DataFrame:
            nonlocal judgments
            frame = generate(engine, journal, tasks, sampling, report, settings.template_date).frame
            judgments += 0 if tasks.elicits else frame.height
            return frame

        return complete

    return for_open
