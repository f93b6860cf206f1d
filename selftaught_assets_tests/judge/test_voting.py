"""Votes that end once they are decided, against the same random streams sampled whole."""

from collections.abc import Iterable, Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.engines.embedded.engine import TransformersEngine
from selftaught_assets.engines.protocol import Completion, Request
from selftaught_assets.judge import Judge
from selftaught_assets.judge.answers import PairQuestion, answer
from selftaught_assets.method.judging import VOTE_SCHEMA, count_questions, sample_until_decided
from selftaught_assets.method.prompts import judge_messages
from selftaught_assets.method.verdicts import Verdict
from selftaught_assets.storage.journal import MemoryJournal

Streams = list[list[Verdict]]
"""The votes on a question in each of its orders, in the names that the judge sees."""

VERDICT = st.sampled_from(Verdict)
ONE_ORDER = st.lists(VERDICT, min_size=1, max_size=40).map(lambda votes: [votes])
BOTH_ORDERS = st.lists(st.tuples(VERDICT, VERDICT), min_size=1, max_size=30).map(
    lambda votes: list(zip(*votes, strict=True))
)
QUESTIONS = st.lists(st.tuples(st.one_of(ONE_ORDER, BOTH_ORDERS), st.booleans()), min_size=1, max_size=8)


class _Fixed:
    """Casts votes from fixed streams, and notes what it was asked for."""

    def __init__(self, questions: list[tuple[Streams, bool]]) -> None:
        self._questions = questions
        self.requests = pl.DataFrame(
            [
                (number, order, len(streams[0]), stops_early)
                for number, (streams, stops_early) in enumerate(questions)
                for order, _ in zip(("AB", "BA"), streams, strict=False)
            ],
            schema={"question": pl.Int64, "order": pl.String, "n": pl.Int64, "stops_early": pl.Boolean},
            orient="row",
        )
        self.batches: list[int] = []

    def vote(self, waiting: pl.DataFrame) -> pl.DataFrame:
        self.batches.append(waiting["end"].max())
        rows = [
            (number, order, index, None, "stop", None, self._verdict(number, order, index), False)
            for number, order, first, end in waiting.select("question", "order", "first", "end").iter_rows()
            for index in range(first, end)
        ]
        return pl.DataFrame(rows, schema=VOTE_SCHEMA, orient="row")

    def _verdict(self, number: int, order: str, index: int) -> str | None:
        vote = self._questions[number][0][order == "BA"][index]
        return None if vote is Verdict.INVALID else vote.value


@given(QUESTIONS)
def test_votes_that_end_early_have_the_verdict_of_all_votes_and_are_the_first_of_them(questions) -> None:
    judge, patient = _Fixed(questions), _Fixed([(streams, False) for streams, _ in questions])
    cast, every = (sample_until_decided(one.requests, one.vote) for one in (judge, patient))
    assert len(patient.batches) == 1
    assert every.height == sum(len(streams) * len(streams[0]) for streams, _ in questions)
    one, other = (count_questions(judge.requests, votes)["verdict"].to_list() for votes in (cast, every))
    assert one == other
    for (number, order), votes in cast.group_by("question", "order"):
        assert votes["sample_index"].to_list() == list(range(votes.height))
        assert questions[number][1] or votes.height == len(questions[number][0][0]), order


def _batches(*streams: list[Verdict]) -> list[int]:
    judge = _Fixed([(list(streams), True)])
    sample_until_decided(judge.requests, judge.vote)
    return judge.batches


def test_votes_of_one_mind_are_decided_by_the_first_batch() -> None:
    assert _batches([Verdict.A] * 32) == [17]
    assert _batches([Verdict.A]) == [1]
    assert _batches([Verdict.A] * 32, [Verdict.B] * 32) == [17]


@pytest.mark.parametrize("n", sorted({2**power + beside for power in range(1, 8) for beside in (-1, 0, 1)} | {200}))
def test_even_votes_that_never_agree_take_few_batches(n: int) -> None:
    assert len(_batches([Verdict.A, Verdict.B] * n)) <= 2 + (2 * n).bit_length()


def test_a_vote_that_ends_early_has_the_verdict_of_all_votes_on_the_real_judge(
    seed_judge: Judge, pairs: pl.DataFrame
) -> None:
    shown = list(pairs.select("instruction", "response_a", "response_b").iter_rows())
    every = seed_judge.answer([PairQuestion(*texts, votes=15, abstain_below=1e-9) for texts in shown])
    found = seed_judge.answer([PairQuestion(*texts, votes=15) for texts in shown])
    assert {len(one.judgments) for one in every} == {15}
    assert [one.verdict for one in found] == [one.verdict for one in every]
    cast = [len(one.judgments) for one in found]
    assert min(cast) == 8
    assert 8 < max(cast) <= 15
    for part, whole in zip(found, every, strict=True):
        assert part.judgments == whole.judgments[: len(part.judgments)]


class _Failing:
    """The real engine, which gives up on every third judgment of one prompt."""

    def __init__(self, engine: TransformersEngine, prompt: str) -> None:
        self._engine = engine
        self._prompt = prompt
        self.identity, self.capacity, self.render = engine.identity, engine.capacity, engine.render

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        requests = list(requests)
        hopeless = {one.request_id for one in requests if one.prompt.messages[0]["content"] == self._prompt}
        for completion in self._engine.generate(requests):
            if completion.request_id in hopeless and completion.sample_index % 3 == 2:
                yield completion._replace(text="", finish_reason="failed", error="The server said 500.")
            else:
                yield completion


def test_a_judgment_that_could_not_be_had_is_no_vote_but_an_error_of_its_question(
    seed_judge: Judge, pairs: pl.DataFrame
) -> None:
    texts = pairs.select("instruction", "response_a", "response_b").rows()[:2]
    questions = [PairQuestion(*row, votes=5) for row in texts]
    engine = _Failing(seed_judge._engine, judge_messages(seed_judge.settings.templates, *texts[0])[0]["content"])
    failed, sound = answer(engine, MemoryJournal(), seed_judge.settings, questions, lambda progress: None)
    assert str(failed) == "A judgment could not be had (The server said 500): ask again."
    assert sound == seed_judge.answer(questions)[1]
