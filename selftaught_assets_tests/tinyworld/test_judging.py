import random

from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import parse_verdict
from selftaught_assets.tinyworld.world import careful_judgment, draw_task, far_miss, near_miss, shallow_judgment

SEEDS = st.integers(0, 2**32)


def test_careful_judgment_derives_the_answer_and_checks_both_responses_to_the_first_mismatch() -> None:
    judgment = careful_judgment(["fig", "kiwi", "pear"], ["fig", "pear", "kiwi"], ["fig", "kiwi", "pear"], "B")
    assert judgment.splitlines() == [
        "Correct: fig kiwi pear end",
        "A: fig yes pear no",
        "B: fig yes kiwi yes pear yes end yes",
        "[[B]]",
    ]


def test_response_that_is_too_short_fails_at_its_end() -> None:
    assert "B: fig yes end no" in careful_judgment(["fig", "kiwi"], ["fig", "kiwi"], ["fig"], "A")


def test_response_that_is_too_long_fails_at_its_first_extra_item() -> None:
    assert "B: fig yes kiwi no" in careful_judgment(["fig"], ["fig"], ["fig", "kiwi", "pear"], "A")


@given(SEEDS)
def test_misses_are_wrong(seed: int) -> None:
    rng = random.Random(seed)
    task = draw_task(rng, "training")
    assert near_miss(rng, task) != task.answer
    assert far_miss(rng, task) != task.answer


@given(SEEDS)
def test_near_miss_holds_one_mistake(seed: int) -> None:
    rng = random.Random(seed)
    task = draw_task(rng, "training")
    wrong = near_miss(rng, task)
    assert abs(len(wrong) - len(task.answer)) <= 1
    if len(wrong) == len(task.answer):
        assert sum(a != b for a, b in zip(wrong, task.answer, strict=True)) <= 2


def test_shallow_judgment_prefers_the_longer_response_whichever_is_right() -> None:
    rng = random.Random(1)
    verdicts = [parse_verdict(shallow_judgment(rng, ["fig"], ["fig", "kiwi"])) for _ in range(1_000)]
    assert 0.76 < verdicts.count("B") / 1_000 < 0.84


def test_shallow_judgment_of_equally_long_responses_is_a_guess() -> None:
    rng = random.Random(1)
    verdicts = [parse_verdict(shallow_judgment(rng, ["fig"], ["kiwi"])) for _ in range(1_000)]
    assert 0.45 < verdicts.count("B") / 1_000 < 0.55
