"""Questions that are judged round by round, with an engine whose judgments follow from seed and sample index alone."""

import random
from collections.abc import Iterable, Iterator
from datetime import date as Date

from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.errors import UserError
from selftaught_assets.judge import Judge
from selftaught_assets.judge.answers import PairQuestion, Question, ResponseQuestion
from selftaught_assets.judge.voting import Voting
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.storage.journal import MemoryJournal
from selftaught_assets_tests.judge.scribe import SETTINGS

VOTES = 16


class Dice:
    """Throws its judgments, and counts them. Takes a request when it has completed the one before."""

    model_digest = identity = "dice"
    REFUSED = "loaded dice"

    def __init__(self, capacity: int = 1024) -> None:
        self.capacity = capacity
        self.thrown = 0
        self.is_broken = False

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
        if self.REFUSED in messages[-1]["content"]:
            raise UserError("The dice do not take it.")
        return Prompt(messages[-1]["content"], ())

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            if self.is_broken:
                raise UserError("The dice are lost.")
            for index in request.sample_indices:
                self.thrown += 1
                said = random.Random(f"{request.seed} {index}").choice([*["[[A]]"] * 8, "[[B]]", "?"])
                yield Completion(request.request_id, index, said, "stop", 1, 1)

    def close(self) -> None:
        pass


def _judge(dice: Dice) -> Judge:
    return Judge("dice", dice, SETTINGS, MemoryJournal())


def _pair(number: int, **options: object) -> PairQuestion:
    return PairQuestion(f"Count to {number}", "one", f"{number}", **{"votes": VOTES, **options})


QUESTIONS = st.builds(
    _pair,
    st.integers(0, 5),
    votes=st.integers(1, 40),
    both_orders=st.booleans(),
    abstain_below=st.sampled_from([0.0, 0.0, 0.9]),
) | st.builds(ResponseQuestion, st.just("Count"), st.text("ab ", max_size=2), st.integers(1, 5))


def _answers(voting: Voting, rounds: list[dict[int, Question]], gone: set[int]) -> dict[int, object]:
    """The answers to rounds of questions; `gone` leave in the round after their first one."""
    answers, asked, left = {}, set(), set()
    coming = iter(rounds)
    while (new := next(coming, {})) or asked - left - answers.keys():
        asked |= new.keys()
        answers |= voting.round(new, lambda number, left=frozenset(left): number not in left)
        left = gone & asked
    return answers


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(QUESTIONS, max_size=4), max_size=4), st.sets(st.integers(0, 15)), st.sampled_from([8, 64, 1024])
)
def test_an_answer_is_that_of_the_question_alone_whoever_joins_and_leaves(asked, gone, capacity) -> None:
    judge, number = _judge(Dice(capacity)), iter(range(100))
    rounds = [{next(number): question for question in some} for some in asked if some]
    for place, answer in _answers(judge.voting(), rounds, gone).items():
        (question,) = (some[place] for some in rounds if place in some)
        (alone,) = judge.answer([question])
        assert repr(answer) == repr(alone)


def test_a_question_that_joins_needs_no_more_rounds_than_alone() -> None:
    judge = _judge(Dice(capacity=0))  # Nothing is sampled ahead.
    voting = judge.voting()
    for number in range(30):
        voting.round({number: _pair(number)}, lambda _: True)
    (alone,) = judge.answer([_pair(99)])
    voting, rounds = judge.voting(), 0
    voting.round({number: _pair(number) for number in range(20)}, lambda _: True)
    answers = voting.round({99: _pair(99)}, lambda _: True)
    while 99 not in answers and rounds < 20:
        rounds, answers = rounds + 1, voting.round({}, lambda _: True)
    assert answers[99] == alone


def test_close_questions_take_two_rounds_where_the_engine_has_room_and_are_counted_by_the_rule() -> None:
    dice = Dice()
    judge = _judge(dice)
    questions = [_pair(number) for number in range(20)]
    voting = judge.voting()
    answers = voting.round(dict(enumerate(questions)), lambda _: True)
    assert 0 < len(answers) < 20
    answers |= voting.round({}, lambda _: True)
    assert [answers[place] for place in range(20)] == judge.answer(questions)


def test_after_a_hundred_and_fifty_cancelled_questions_nothing_is_judged_but_the_next() -> None:
    dice = Dice()
    voting = _judge(dice).voting()
    answers = voting.round({number: _pair(number, both_orders=True) for number in range(150)}, lambda _: True)
    assert len(answers) < 150
    dice.thrown, new = 0, {999: _pair(999)}
    while 999 not in answers:
        answers, new = voting.round(new, lambda number: number == 999), {}
    assert dice.thrown <= VOTES


def test_votes_that_have_not_begun_are_not_cast_for_clients_that_hang_up_meanwhile() -> None:
    dice = Dice()
    voting = _judge(dice).voting()
    questions = {number: _pair(number, both_orders=True) for number in range(150)}
    answers = voting.round(questions, lambda number: number == 149 or dice.thrown < 40)
    assert dice.thrown < 40 + 3 * VOTES
    assert answers.keys() <= {149}


def test_what_cannot_be_asked_is_refused_alone() -> None:
    voting = _judge(Dice()).voting()
    asked = {0: _pair(0, votes=1), 1: _pair(1, votes=0), 2: PairQuestion("", "a", "b"), 3: _pair(3, votes=1)}
    answers = voting.round(asked, lambda _: True)
    assert "number of votes" in str(answers[1])
    assert str(answers[2]) == "The judge cannot be asked: instruction is empty."
    assert not {type(answers[0]), type(answers[3])} & {UserError}


def test_a_question_that_the_engine_refuses_spoils_no_other() -> None:
    judge = _judge(Dice())
    voting = judge.voting()
    voting.round({number: _pair(number) for number in range(20)}, lambda _: True)
    asked = {20: _pair(20), 21: PairQuestion("Count to 21", Dice.REFUSED, "21", votes=VOTES), 22: _pair(22)}
    answers, new = {}, asked
    for _ in range(VOTES):
        answers |= {place: answer for place, answer in voting.round(new, lambda _: True).items() if place >= 20}
        new = {}
    assert str(answers[21]) == "The dice do not take it."
    assert [answers[20], answers[22]] == judge.answer([_pair(20), _pair(22)])


def test_an_engine_that_fails_takes_the_open_questions_along_and_no_others() -> None:
    dice = Dice()
    voting = _judge(dice).voting()
    dice.is_broken = True
    answers = voting.round({0: _pair(0), 1: _pair(1)}, lambda _: True)
    assert [str(answers[place]) for place in (0, 1)] == ["The dice are lost."] * 2
    dice.is_broken = False
    assert voting.round({2: _pair(2, votes=1)}, lambda _: True).keys() == {2}
