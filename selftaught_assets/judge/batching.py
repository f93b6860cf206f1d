"""Concurrent questions, answered together: one thread owns the judge, and what arrives while it works waits.

An answer does not depend on the batch, since a sample's random stream does not (engines/asking.py).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from selftaught_assets.errors import UserError
from selftaught_assets.judge.answers import Answer, Question
from selftaught_assets.judge.judge import Judge

GATHERING_SECONDS = 0.01
"""How long an idle judge waits for more questions after the first."""
MOST_TOGETHER = 64
MOST_WAITING = 1024
_logger = logging.getLogger(__name__)


class TooManyWaitingError(Exception):
    """The queue is full."""


class Batcher:
    """Answers questions in batches. Create, use and close it in one event loop."""

    def __init__(self, judge: Judge, on_batch: Callable[[Sequence[Answer]], None]) -> None:
        """`on_batch` gets the answers of each batch before they are handed out; what it raises the event loop logs."""
        self._judge = judge
        self._on_batch = on_batch
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
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

        Whoever cancels this takes the question back, unless its batch has begun.

        Raises:
            TooManyWaitingError: the queue is full.
            UserError: the judge cannot be asked such a question.
        """
        if self.is_full:
            raise TooManyWaitingError
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        self._arrived.set()
        try:
            return await answer
        except asyncio.CancelledError:
            self._waiting = [one for one in self._waiting if one[1] is not answer]
            raise

    async def close(self) -> None:
        """Answers what is waiting, then ends the thread."""
        while self._waiting:
            await asyncio.wait([answer for _, answer in self._waiting])
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work
        self._thread.shutdown()

    async def _answer_for_ever(self) -> None:
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(GATHERING_SECONDS)
            batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            wanted = [(question, answer) for question, answer in batch if not answer.done()]
            if wanted:
                (defect,) = await asyncio.gather(self._answer(wanted), return_exceptions=True)
                if defect is not None:
                    _logger.error("A batch of questions was not answered.", exc_info=defect)
                    for _, answer in wanted:
                        if not answer.done():
                            answer.set_exception(defect)

    async def _answer(self, batch: Sequence[tuple[Question, "asyncio.Future[Answer]"]]) -> None:
        ask = asyncio.get_running_loop().run_in_executor(
            self._thread, self._judge.answer, [question for question, _ in batch]
        )
        (answers,) = await asyncio.gather(ask, return_exceptions=True)
        if isinstance(answers, UserError) and len(batch) > 1:  # One question must not spoil the others.
            for one in batch:
                await self._answer([one])
            return
        failed = isinstance(answers, BaseException)
        if not failed:
            asyncio.get_running_loop().call_soon(self._on_batch, answers)
        for place, (_, answer) in enumerate(batch):
            if answer.done():  # The client has gone.
                continue
            if failed:
                answer.set_exception(answers)
            else:
                answer.set_result(answers[place])
