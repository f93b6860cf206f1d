"""How the ray engine cuts its work, and that nothing is lost or doubled on the way."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.engines.ray.portions import Ledger, Portion, cut_into_portions
from selftaught_assets.recipe.engines import SamplingParameters

Asked = list[int]
"""The number of samples of each request."""
asked = st.lists(st.integers(0, 40), max_size=30)


def requests(counts: Asked) -> list[Request]:
    prompt = Prompt("", ())
    return [Request(str(place), prompt, SamplingParameters(), place, tuple(range(n))) for place, n in enumerate(counts)]


def samples(portion: Portion) -> list[tuple[str, int]]:
    return [(request.request_id, index) for request in portion for index in request.sample_indices]


def completed(sample: tuple[str, int]) -> Completion:
    return Completion(*sample, "", "stop", 0, 1)


@given(asked, st.integers(1, 20), st.integers(1, 5))
def test_every_sample_is_in_one_portion_in_its_order(counts: Asked, capacity: int, replicas: int) -> None:
    portions = list(cut_into_portions(requests(counts), capacity=capacity, replicas=replicas))
    assert all(portions)
    assert [sample for portion in portions for sample in samples(portion)] == samples(tuple(requests(counts)))


@given(asked, st.integers(1, 20), st.integers(1, 5))
def test_portions_fill_a_batch_and_become_smaller_towards_the_end(counts: Asked, capacity: int, replicas: int) -> None:
    sizes = [len(samples(p)) for p in cut_into_portions(requests(counts), capacity=capacity, replicas=replicas)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(min(capacity, -(-sum(counts) // replicas)) <= size <= 8 * capacity for size in sizes[:-1])


def test_few_samples_are_shared_out_evenly() -> None:
    portions = cut_into_portions(requests([5, 5, 2]), capacity=512, replicas=4)
    assert [len(samples(portion)) for portion in portions] == [3, 3, 3, 3]


@given(asked, st.data())
def test_each_sample_comes_out_once_whatever_is_lost_or_sent_twice(counts: Asked, data: st.DataObject) -> None:
    ledger = Ledger(cut_into_portions(requests(counts), capacity=4, replicas=2))
    found: Counter[tuple[str, int]] = Counter()
    number = 0
    while portion := ledger.next_portion():
        ledger.handed_out(number, portion)
        arrived, *lost = data.draw(st.permutations(samples(portion)))
        arrived = [arrived, *(sample for sample in lost if data.draw(st.booleans()))]
        for sample in data.draw(st.permutations(arrived * 2)):
            found.update((c.request_id, c.sample_index) for c in ledger.received(number, [completed(sample)]))
        ledger.finished(number)
        number += 1
    assert found == Counter(samples(tuple(requests(counts))))
    assert ledger.at_work == ()


def test_answers_to_a_portion_that_is_not_on_the_account_are_no_completions() -> None:
    ledger = Ledger([])
    ledger.finished(3)
    assert list(ledger.received(3, [completed(("0", 0))])) == []


def test_an_engine_that_gives_nothing_is_a_defect_and_not_asked_for_ever() -> None:
    ledger = Ledger(cut_into_portions(requests([3]), capacity=8, replicas=1))
    ledger.handed_out(0, ledger.next_portion())
    with pytest.raises(RuntimeError, match="left out 3 completions"):
        ledger.finished(0)
