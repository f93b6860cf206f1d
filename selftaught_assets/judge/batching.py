"""Concurrent questions, answered together: one thread owns the judge; what arrives while it works joins soon.

An answer does not depend on who else asks (judge/voting.py). Who arrives first joins first, but for texts so long that
others would have to wait for them: those join one by one, and short ones beside them.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from selftaught_assets.errors import UserError
from selftaught_assets.judge.answers import Answer, Question
from selftaught_assets.judge.voting import Voting

GATHERING_SECONDS = 0.01
GATHERING_SHARE = 0.05
"""Who has an answer often asks the next question at once. So a round begins when as many questions wait as answers were
given after the last one, or when none has come for so long: in seconds, or in parts of the last round's time."""
GATHERING_TIMES = 4
"""As many times that at most, however many come: those who ask and hang up at once would put the round off for ever."""
MOST_TOGETHER = 64
MOST_CHARACTERS = 2**18
"""Of the questions that join a round beside the first one: to read a million takes one or two seconds."""
MOST_WAITING = 1024
_logger = logging.getLogger(__name__)


class TooManyWaitingError(Exception):
    """The queue is full."""


class Batcher:
    """Answers questions in rounds of votes. Create, use and close it in one event loop."""

    def __init__(self, voting: Voting, on_round: Callable[[int, Collection[Answer]], None]) -> None:
        """Takes a voting that nobody else uses.

        Args:
            voting: of the judge.
            on_round: told after each round how many questions were judged together, and the answers, before they are
                handed out; what it raises the event loop logs.
        """
        self._voting = voting
        self._on_round = on_round
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        """Of all questions that somebody waits for."""
        self._waiting: dict[int, Question] = {}
        """Those of them that are not with the judge yet."""
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judge")
        self._work = asyncio.create_task(self._answer_for_ever())

    @property
    def waiting(self) -> int:
        """Questions that are not with the judge yet."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no more can wait."""
        return len(self._waiting) >= MOST_WAITING

    async def ask(self, question: Question) -> Answer:
        """The answer to one question, judged together with whatever else is asked meanwhile.

        Whoever cancels this takes the question back: votes that have not begun are not cast.

        Raises:
            TooManyWaitingError: the queue is full.
            UserError: the engine failed.
        """
        if self.is_full:
            raise TooManyWaitingError
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = question
        self._arrived.set()
        try:
            return await answer
        finally:
            del self._answers[number]
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Answers what is asked already, then ends the thread."""
        while self._answers:
            await asyncio.wait(list(self._answers.values()))
            await asyncio.sleep(0)  # Who has an answer leaves by himself.
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work
        self._thread.shutdown()

    async def _answer_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        given, took = MOST_TOGETHER, 0.0
        while True:
            if not self._answers:
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather(given, max(GATHERING_SECONDS, GATHERING_SHARE * took))
            room = MOST_TOGETHER - (len(self._answers) - len(self._waiting))
            asked = {number: self._waiting.pop(number) for number in self._next(room)}
            judged = self._answers.keys() - self._waiting.keys()
            if not judged:
                continue
            started = loop.time()
            # Whether somebody waits for an answer is looked up in the judge's thread, too.
            work = loop.run_in_executor(self._thread, self._voting.round, asked, self._answers.__contains__)
            (found,) = await asyncio.gather(work, return_exceptions=True)
            took = loop.time() - started
            if isinstance(found, BaseException):
                given = self._fail(judged, found)
            else:
                given = len(found)
                loop.call_soon(self._on_round, len(judged), found.values())
                for number, answer in found.items():
                    if number in self._answers and not self._answers[number].done():
                        self._answers[number].set_result(answer)
            await asyncio.sleep(0)  # Who has an answer leaves by himself.

    def _next(self, room: int) -> list[int]:
        """Who joins: the first that waits, and of the others, in their order, those whose texts fit beside it."""
        joining, left = [], MOST_CHARACTERS
        for number, question in self._waiting.items():
            if len(joining) >= room:
                break
            size = sum(len(text) for text in question if isinstance(text, str))
            if not joining:
                joining.append(number)
            elif size <= left:
                joining.append(number)
                left -= size
        return joining

    async def _gather(self, expected: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + GATHERING_TIMES * seconds
        while len(self._waiting) < expected:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), min(seconds, latest - loop.time()))
            except TimeoutError:
                return

    def _fail(self, numbers: Collection[int], defect: BaseException) -> int:
        if not isinstance(defect, UserError):
            _logger.error("Questions were not answered.", exc_info=defect)
        for number in numbers:
            if number in self._answers and not self._answers[number].done():
                self._answers[number].set_exception(defect)
        return len(numbers)
