"""Questions that are judged together, round by round: what has an answer leaves, what is new joins.

A round casts the next votes on every open question. How many count follows from the question's own votes alone, by the
rule of `judging.undecided`, and a sample's random stream does not depend on its batch (engines/asking.py). So an answer
is that of `answers.answer`, whoever else is asking.

By that rule a close question needs many small rounds, each of which lasts as long as the first rounds of others beside
it. So the questions that are open longest have all their further votes sampled at once, as far as these fill a part of
the engine; what the rule would not have asked for is not counted.
"""

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from selftaught_assets.engines.asking import cast_votes, judge_tasks
from selftaught_assets.engines.journalled import Tasks, generate
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.errors import UserError
from selftaught_assets.judge.answers import Answer, Question, answers_of, question_problem, question_requests
from selftaught_assets.method.judging import FILLED_SHARE, VOTE_SCHEMA, sample_until_decided, undecided
from selftaught_assets.recipe import JudgeSettings
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import MemoryJournal


class Voting:
    """The open questions, and the votes cast on them. Use it in one thread at a time."""

    def __init__(self, engine: Engine, settings: JudgeSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._forget()

    def round(self, asked: Mapping[int, Question], is_wanted: Callable[[int], bool]) -> dict[int, Answer]:
        """Casts the next votes on what is asked and on what is open.

        Args:
            asked: new questions, by numbers that ascend from round to round.
            is_wanted: whether somebody still waits for the answer to a question, also called while the judge works.
                Votes of others that have not begun are not cast.

        Returns:
            The answers of the questions that are decided now, or cannot be asked. The others stay open.

        After an exception nothing is open any more.
        """
        new, answers = self._admit(asked)
        requests, votes = _wanted(is_wanted, pl.concat([self._requests, new]), self._votes)
        self._forget()
        return answers | self._vote(requests, votes, is_wanted)

    def _vote(self, requests: pl.DataFrame, votes: pl.DataFrame, is_wanted: Callable[[int], bool]) -> dict[int, Answer]:
        """The answers to the questions that the next votes decide; the others are open."""
        further = self._further(undecided(requests, votes))
        try:
            cast = cast_votes(self._settings, further, self._complete, is_wanted)
        except UserError as error:
            numbers = requests["question"].unique(maintain_order=True).to_list()
            if len(numbers) == 1:
                return {numbers[0]: error}
            answers: dict[int, Answer] = {}
            for number in numbers:  # One that the chat template refuses must not spoil the others.
                is_it = pl.col("question") == number
                answers |= self._vote(requests.filter(is_it), votes.filter(is_it), is_wanted)
            return answers
        requests, votes = _wanted(is_wanted, requests, pl.concat([votes, cast]))
        votes = _counted(requests.filter(_is_of(further.filter("is_ahead"))), votes)
        is_open = _is_of(undecided(requests, votes))
        answers = answers_of(self._settings, requests.filter(~is_open), votes.filter(~is_open))
        self._requests = pl.concat([self._requests, requests.filter(is_open)])
        self._votes = pl.concat([self._votes, votes.filter(is_open)])
        return answers

    def _forget(self) -> None:
        self._requests, self._votes = question_requests(self._settings, {}), VOTE_SCHEMA.to_frame()

    def _admit(self, asked: Mapping[int, Question]) -> tuple[pl.DataFrame, dict[int, Answer]]:
        """What to ask about new questions, and why some cannot be asked: one must not spoil the others."""
        answers: dict[int, Answer] = {
            number: UserError(f"The judge cannot be asked: {problem}.")
            for number, question in asked.items()
            if (problem := question_problem(question))
        }
        sound = {number: question for number, question in asked.items() if number not in answers}
        try:
            requests = question_requests(self._settings, sound)
            for _ in judge_tasks(self._settings, requests, 1):
                pass  # There is a template for it, which can be rendered.
        except UserError as error:
            if len(sound) == 1:
                return question_requests(self._settings, {}), answers | dict.fromkeys(sound, error)
            parts = [self._admit({number: question}) for number, question in sound.items()]
            for _, refused in parts:
                answers |= refused
            return pl.concat([admitted for admitted, _ in parts]), answers
        return requests, answers

    def _further(self, undecided: pl.DataFrame) -> pl.DataFrame:
        """The requests with the votes that are sampled next, and `is_ahead`: all that are left, whatever the rule."""
        left = pl.when(pl.col("first") > 0).then(pl.col("n") - pl.col("first")).otherwise(0)
        fits = left.cum_sum() <= FILLED_SHARE * self._engine.capacity
        is_ahead = ((pl.col("first") > 0) & fits.all().over("question")).alias("is_ahead")
        ordered = undecided.sort("question", maintain_order=True).with_columns(is_ahead)
        return ordered.with_columns(end=pl.when("is_ahead").then("n").otherwise("end"))

    def _complete(self, tasks: Tasks, sampling: SamplingParameters) -> pl.DataFrame:
        journal = MemoryJournal()
        return generate(self._engine, journal, tasks, sampling, lambda _: None, self._settings.template_date).frame


def _wanted(is_wanted: Callable[[int], bool], *frames: pl.DataFrame) -> list[pl.DataFrame]:
    """Without the questions that nobody waits for; each is looked at once, so that the frames agree."""
    numbers: Iterable[int] = frames[0]["question"].unique()
    kept = pl.col("question").is_in([number for number in numbers if is_wanted(number)])
    return [frame.filter(kept) for frame in frames]


def _counted(requests: pl.DataFrame, votes: pl.DataFrame) -> pl.DataFrame:
    """The votes; of the requests, on which all are cast, only those that the rule asks for."""
    if requests.is_empty():
        return votes

    def among_them(wanted: pl.DataFrame) -> pl.DataFrame:
        asked = wanted.select("question", "order", "first", "end")
        index = pl.col("sample_index")
        found = votes.join(asked, on=["question", "order"], maintain_order="left")
        return found.filter(index >= pl.col("first"), index < pl.col("end"))

    is_ahead = _is_of(requests)
    return pl.concat([votes.filter(~is_ahead), sample_until_decided(requests, among_them)])


def _is_of(questions: pl.DataFrame) -> pl.Expr:
    return pl.col("question").is_in(questions["question"].unique().implode())
