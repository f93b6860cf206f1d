from collections.abc import Iterable, Iterator

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.engines.embedded.engine import TransformersEngine
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.engines.protocol import Completion, Request
from selftaught_assets.judge import Judge, voting
from selftaught_assets.judge.voting import PairQuestion, in_one_row, next_wave
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.prompts import judge_messages
from selftaught_assets.method.verdicts import Verdict, parse_verdict
from selftaught_assets.method.votes import is_decided, majority
from selftaught_assets.storage.journal import MemoryJournal

VOTES = st.lists(st.sampled_from(Verdict), min_size=1, max_size=40)


def _cast_until_decided(votes: list[Verdict]) -> list[int]:
    """After how many votes each wave ends."""
    waves = [0]
    while not (waves[-1] and is_decided(votes[: waves[-1]], len(votes))):
        waves.append(waves[-1] + next_wave(votes[: waves[-1]], len(votes)))
    return waves[1:]


@given(VOTES)
def test_waves_end_with_the_verdict_of_all_votes(votes: list[Verdict]) -> None:
    cast = _cast_until_decided(votes)[-1]
    assert cast <= len(votes)
    assert majority(votes[:cast]) == majority(votes)


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.sampled_from(Verdict)), min_size=1, max_size=30))
def test_pooled_votes_that_are_decided_early_are_decided_as_all_would(pairs: list[tuple[Verdict, Verdict]]) -> None:
    first, second = ([pair[order] for pair in pairs] for order in (0, 1))
    whole = in_one_row([first, second])
    for cast in range(1, len(pairs) + 1):
        part = in_one_row([first[:cast], second[:cast]])
        if is_decided(part, len(whole)):
            assert majority(part) == majority(whole)


def test_votes_of_one_mind_are_decided_by_the_first_wave() -> None:
    assert _cast_until_decided([Verdict.A] * 32) == [17]
    assert _cast_until_decided([Verdict.A]) == [1]


@given(st.integers(1, 200))
def test_even_votes_that_never_agree_take_few_waves(n: int) -> None:
    votes = [Verdict.A, Verdict.B] * n
    assert len(_cast_until_decided(votes)) <= 2 + (2 * n).bit_length()


def test_a_vote_that_ends_early_has_the_verdict_of_all_votes_on_the_real_judge(
    seed_judge: Judge, pairs: pl.DataFrame
) -> None:
    engine, recipe = seed_judge._engine, seed_judge.recipe
    assert isinstance(engine, TransformersEngine)
    shown = list(pairs.select("instruction", "response_a", "response_b").iter_rows())
    tasks = [
        GenerationTask(
            str(place), judge_messages(recipe.templates, *texts), n=15, seed=derive_seed(recipe.seed, "use", *texts)
        )
        for place, texts in enumerate(shown)
    ]
    frame = generate(engine, MemoryJournal(), tasks, recipe.evaluation.sampling, lambda progress: None).frame
    every = [
        list(map(parse_verdict, texts))
        for (texts,) in frame.group_by("request_id", maintain_order=True).agg("text").select("text").iter_rows()
    ]
    found = seed_judge.answer([PairQuestion(*texts, votes=15) for texts in shown])
    assert [answer.verdict for answer in found] == [majority(votes) for votes in every]
    cast = [len(answer.judgments) for answer in found]
    assert min(cast) == 8
    assert 8 < max(cast) <= 15
    for answer, votes in zip(found, every, strict=True):
        assert [judgment.verdict for judgment in answer.judgments] == votes[: len(answer.judgments)]


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
    engine = _Failing(seed_judge._engine, judge_messages(seed_judge.recipe.templates, *texts[0])[0]["content"])
    failed, sound = voting.answer(engine, MemoryJournal(), seed_judge.recipe, questions, lambda progress: None)
    assert str(failed) == "A judgment could not be had (The server said 500): ask again."
    assert sound == seed_judge.answer(questions)[1]
