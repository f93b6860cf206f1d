"""The batcher over a judge that says what it is asked together: only the pairing and the order are under test here."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.judge import batching
from selftaught_assets.judge.answers import ResponseQuestion, Score
from selftaught_assets.judge.batching import Batcher, TooManyWaitingError


class Scribe:
    """Answers each question with its own text; may be held up, and cannot bear the word "bad"."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def answer(self, questions: Sequence[ResponseQuestion]) -> list[Score]:
        self.threads.add(threading.get_ident())
        self.may_go_on.wait(10)
        self.batches.append([question.response for question in questions])
        if any(question.response == "bad" for question in questions):
            raise UserError("bad is bad")
        if any(question.response == "broken" for question in questions):
            raise RuntimeError("out of memory")
        return [Score(None, (), (question.response,)) for question in questions]


async def _ask(batcher: Batcher, text: str) -> str:
    return (await batcher.ask(ResponseQuestion("i", text))).judgments[0]


def _with_batcher(scribe: Scribe, work, on_batch=lambda answers: None) -> object:
    async def run() -> object:
        batcher = Batcher(scribe, on_batch)
        try:
            return await work(batcher)
        finally:
            await batcher.close()

    return asyncio.run(run())


def test_everybody_gets_their_own_answer_from_one_thread() -> None:
    scribe, texts = Scribe(), [str(n) for n in range(200)]
    found = _with_batcher(scribe, lambda batcher: asyncio.gather(*(_ask(batcher, text) for text in texts)))
    assert found == texts
    assert [len(batch) for batch in scribe.batches] == [64, 64, 64, 8]
    assert len(scribe.threads) == 1
    assert threading.get_ident() not in scribe.threads


def test_what_arrives_while_the_judge_works_is_the_next_batch() -> None:
    scribe = Scribe()
    scribe.may_go_on.clear()

    async def work(batcher: Batcher) -> list[str]:
        first = asyncio.create_task(_ask(batcher, "first"))
        await asyncio.sleep(5 * batching.GATHERING_SECONDS)
        rest = [asyncio.create_task(_ask(batcher, text)) for text in ("second", "third")]
        await asyncio.sleep(0)
        assert batcher.waiting == 2
        scribe.may_go_on.set()
        return await asyncio.gather(first, *rest)

    assert _with_batcher(scribe, work) == ["first", "second", "third"]
    assert scribe.batches == [["first"], ["second", "third"]]


def test_a_question_that_cannot_be_asked_fails_alone() -> None:
    asked = ("one", "bad", "two")
    found = _with_batcher(
        Scribe(), lambda batcher: asyncio.gather(*(_ask(batcher, text) for text in asked), return_exceptions=True)
    )
    assert (found[0], str(found[1]), found[2]) == ("one", "bad is bad", "two")


def test_a_defect_reaches_who_asked_and_the_next_question_is_answered() -> None:
    async def work(batcher: Batcher) -> str:
        with pytest.raises(RuntimeError, match="out of memory"):
            await _ask(batcher, "broken")
        return await _ask(batcher, "next")

    assert _with_batcher(Scribe(), work) == "next"


def test_a_defect_in_what_counts_batches_is_logged_and_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(answers: Sequence[Score]) -> None:
        raise RuntimeError("the counter is broken")

    async def work(batcher: Batcher) -> list[str]:
        return [await asyncio.wait_for(_ask(batcher, text), 10) for text in ("first", "second")]

    assert _with_batcher(Scribe(), work, broken) == ["first", "second"]
    assert "the counter is broken" in caplog.text


def test_a_question_that_the_judge_leaves_out_is_an_error_and_the_next_one_is_answered() -> None:
    class Forgetful(Scribe):
        def answer(self, questions: Sequence[ResponseQuestion]) -> list[Score]:
            return [score for score in super().answer(questions) if score.judgments != ("forgotten",)]

    async def work(batcher: Batcher) -> str:
        with pytest.raises(IndexError):
            await asyncio.wait_for(_ask(batcher, "forgotten"), 10)
        return await asyncio.wait_for(_ask(batcher, "next"), 10)

    assert _with_batcher(Forgetful(), work) == "next"


def test_who_goes_away_holds_nobody_up() -> None:
    async def work(batcher: Batcher) -> str:
        gone = asyncio.create_task(_ask(batcher, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        return await _ask(batcher, "stays")

    scribe = Scribe()
    assert _with_batcher(scribe, work) == "stays"
    assert scribe.batches == [["stays"]]


def test_closing_answers_what_is_asked_already() -> None:
    async def run() -> list[str]:
        batcher = Batcher(Scribe(), lambda answers: None)
        asked = [asyncio.create_task(_ask(batcher, str(n))) for n in range(100)]
        await asyncio.sleep(0)
        await batcher.close()
        return await asyncio.gather(*asked)

    assert asyncio.run(run()) == [str(n) for n in range(100)]


def test_a_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_WAITING", 2)

    async def work(batcher: Batcher) -> None:
        asked = [asyncio.create_task(_ask(batcher, text)) for text in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitingError):
            await _ask(batcher, "c")
        await asyncio.gather(*asked)

    _with_batcher(Scribe(), work)
