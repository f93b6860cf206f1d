"""The batcher over a judge that says what it is asked together: only the pairing and the order are under test here."""

import asyncio
import threading
from collections.abc import Callable, Mapping

import pytest

from selftaught_assets.judge import batching
from selftaught_assets.judge.answers import ResponseQuestion, Score
from selftaught_assets.judge.batching import Batcher, TooManyWaitingError


class Scribe:
    """Answers each question with its own text, in as many rounds as it has words; may be held up."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._open: dict[int, list[str]] = {}

    def round(self, asked: Mapping[int, ResponseQuestion], is_wanted: Callable[[int], bool]) -> dict[int, Score]:
        self.threads.add(threading.get_ident())
        self._open |= {number: question.response.split() for number, question in asked.items()}
        self.rounds.append([words[0] for words in self._open.values()])
        self.may_go_on.wait(10)
        self._open = {number: words for number, words in self._open.items() if is_wanted(number)}
        if any("broken" in words for words in self._open.values()):
            self._open.clear()
            raise RuntimeError("out of memory")
        done = {number: Score(None, (), (words[0],)) for number, words in self._open.items() if len(words) == 1}
        self._open = {number: words[1:] for number, words in self._open.items() if number not in done}
        return done


async def _ask(batcher: Batcher, text: str) -> str:
    return (await batcher.ask(ResponseQuestion("i", text))).judgments[0]


def _with_batcher(scribe: Scribe, work, on_round=lambda together, answers: None) -> object:
    async def run() -> object:
        batcher = Batcher(scribe, on_round)
        try:
            return await work(batcher)
        finally:
            await batcher.close()

    return asyncio.run(run())


def test_everybody_gets_their_own_answer_from_one_thread() -> None:
    scribe, texts = Scribe(), [str(n) for n in range(200)]
    found = _with_batcher(scribe, lambda batcher: asyncio.gather(*(_ask(batcher, text) for text in texts)))
    assert found == texts
    assert [len(together) for together in scribe.rounds] == [64, 64, 64, 8]
    assert len(scribe.threads) == 1
    assert threading.get_ident() not in scribe.threads


def test_what_arrives_while_the_judge_works_joins_the_next_round() -> None:
    scribe = Scribe()
    scribe.may_go_on.clear()

    async def work(batcher: Batcher) -> list[str]:
        first = asyncio.create_task(_ask(batcher, "a b c"))
        await asyncio.sleep(5 * batching.GATHERING_SECONDS)
        rest = [asyncio.create_task(_ask(batcher, text)) for text in ("d", "e f")]
        await asyncio.sleep(0)
        assert batcher.waiting == 2
        scribe.may_go_on.set()
        return await asyncio.gather(first, *rest)

    assert _with_batcher(scribe, work) == ["c", "d", "f"]
    assert scribe.rounds == [["a"], ["b", "d", "e"], ["c", "f"]]


def test_who_came_first_joins_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_TOGETHER", 2)
    scribe = Scribe()
    asked = ("a b", "c d e", "f", "g")
    _with_batcher(scribe, lambda batcher: asyncio.gather(*(_ask(batcher, text) for text in asked)))
    assert scribe.rounds == [["a", "c"], ["b", "d"], ["e", "f"], ["g"]]


def test_long_texts_join_one_by_one_and_short_ones_do_not_wait_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_CHARACTERS", 10)
    scribe, texts = Scribe(), ["a" * 9, "b" * 99, "c" * 9, "d", "e" * 11, "f"]
    found = _with_batcher(scribe, lambda batcher: asyncio.gather(*(_ask(batcher, text) for text in texts)))
    assert found == texts
    assert [[text[0] for text in together] for together in scribe.rounds] == [["a", "c"], ["b", "d", "f"], ["e"]]


def test_whose_client_hangs_up_during_a_round_is_not_in_the_next() -> None:
    scribe = Scribe()
    scribe.may_go_on.clear()

    async def work(batcher: Batcher) -> str:
        gone, stays = (asyncio.create_task(_ask(batcher, text)) for text in ("a b c", "d e"))
        await asyncio.sleep(5 * batching.GATHERING_SECONDS)
        gone.cancel()
        await asyncio.sleep(0)
        scribe.may_go_on.set()
        return await stays

    assert _with_batcher(scribe, work) == "e"
    assert scribe.rounds == [["a", "d"], ["e"]]


def test_a_defect_reaches_who_asked_and_the_next_question_is_answered() -> None:
    async def work(batcher: Batcher) -> str:
        with pytest.raises(RuntimeError, match="out of memory"):
            await _ask(batcher, "broken")
        return await _ask(batcher, "next")

    assert _with_batcher(Scribe(), work) == "next"


def test_a_defect_in_what_counts_rounds_is_logged_and_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(together: int, answers: object) -> None:
        raise RuntimeError("the counter is broken")

    async def work(batcher: Batcher) -> list[str]:
        return [await asyncio.wait_for(_ask(batcher, text), 10) for text in ("first", "second")]

    assert _with_batcher(Scribe(), work, broken) == ["first", "second"]
    assert "the counter is broken" in caplog.text


def test_who_goes_away_holds_nobody_up() -> None:
    async def work(batcher: Batcher) -> str:
        gone = asyncio.create_task(_ask(batcher, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        return await _ask(batcher, "stays")

    scribe = Scribe()
    assert _with_batcher(scribe, work) == "stays"
    assert scribe.rounds == [["stays"]]


def test_who_asks_and_hangs_up_again_and_again_does_not_put_a_round_off() -> None:
    async def work(batcher: Batcher) -> str:
        await asyncio.gather(*(_ask(batcher, text) for text in "abc"))  # As many are expected again.
        stays = asyncio.create_task(_ask(batcher, "stays"))
        async with asyncio.timeout(5):
            while not stays.done():
                gone = asyncio.create_task(_ask(batcher, "gone"))
                await asyncio.sleep(0)
                gone.cancel()
                await asyncio.sleep(0)
        return stays.result()

    assert _with_batcher(Scribe(), work) == "stays"


def test_closing_answers_what_is_asked_already() -> None:
    async def run() -> list[str]:
        batcher = Batcher(Scribe(), lambda together, answers: None)
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
