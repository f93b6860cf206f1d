"""How the ray engine cuts its work, and that nothing is lost or doubled whatever dies. No cluster: Ray is acted."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.engines.ray.actors import ActorPool, Batch, Opened
from selftaught_assets.engines.ray.engine import cut_into_batches
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import SamplingParameters

Asked = list[int]
"""The number of samples of each request."""
asked = st.lists(st.integers(0, 40), max_size=30)
Answers = Callable[[list[Request]], Iterable[object]]
"""What an actor gives for a batch: completions, or an error, which is the last."""


def requests(counts: Asked) -> list[Request]:
    prompt = Prompt("", ())
    return [Request(str(place), prompt, SamplingParameters(), place, tuple(range(n))) for place, n in enumerate(counts)]


def samples(of: list[Request]) -> list[tuple[str, int]]:
    return [(request.request_id, index) for request in of for index in request.sample_indices]


def completed(of: list[Request]) -> list[Completion]:
    return [Completion(*sample, "", "stop", 0, 1) for sample in samples(of)]


def cut(counts: Asked, capacity: int = 4, replicas: int = 2) -> deque[Batch]:
    return deque(cut_into_batches(requests(counts), capacity=capacity, replicas=replicas))


def died() -> Exception:
    from ray.exceptions import ActorDiedError

    return ActorDiedError()


def refused(sentence: str) -> Exception:
    from ray.exceptions import RayTaskError

    return RayTaskError("generate", "", UserError(sentence))


@pytest.fixture(scope="module", autouse=True)
def acted() -> Iterator[None]:
    """Streams are iterators, and the first that is waited for is ready."""
    import ray

    def get(item: object) -> object:
        if isinstance(item, Exception):
            raise item
        return item

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ray, "wait", lambda streams, num_returns: (streams[:1], streams[1:]))
        patched.setattr(ray, "get", get)
        patched.setattr(ray, "kill", lambda actor: None)
        yield


def pool(answers: Answers, size: int = 2) -> ActorPool:
    def start() -> SimpleNamespace:
        return SimpleNamespace(
            open=SimpleNamespace(remote=lambda: iter([Opened("", "", 4)])),
            generate=SimpleNamespace(remote=lambda wanted: iter(answers(wanted))),
        )

    return ActorPool(start, size)


@given(asked, st.integers(1, 20), st.integers(1, 5))
def test_every_sample_is_in_one_batch_in_its_order(counts: Asked, capacity: int, replicas: int) -> None:
    batches = cut(counts, capacity, replicas)
    assert all(batches)
    assert [sample for batch in batches for sample in batch] == samples(requests(counts))


@given(asked, st.integers(1, 20), st.integers(1, 5))
def test_batches_fill_an_actor_and_become_smaller_towards_the_end(counts: Asked, capacity: int, replicas: int) -> None:
    sizes = [len(batch) for batch in cut(counts, capacity, replicas)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(min(capacity, -(-sum(counts) // replicas)) <= size <= 8 * capacity for size in sizes[:-1])


def test_batches_are_cut_before_the_last_request_is_there() -> None:
    taken: list[Request] = []
    coming = (taken.append(request) or request for request in requests([1] * 1_000))
    batches = cut_into_batches(coming, capacity=4, replicas=2)
    assert len(next(batches)) == 32
    assert len(taken) <= 2 * 2 * 32
    assert sum(map(len, batches)) == 1_000 - 32


def test_few_samples_are_shared_out_evenly() -> None:
    assert [len(batch) for batch in cut([5, 5, 2], capacity=512, replicas=4)] == [3, 3, 3, 3]


@given(asked, st.integers(1, 4), st.data())
def test_each_sample_comes_once_and_is_asked_for_again_only_if_its_actor_died(
    counts: Asked, size: int, data: st.DataObject
) -> None:
    asked_for: Counter[tuple[str, int]] = Counter()
    lost: Counter[tuple[str, int]] = Counter()

    def answers(wanted: list[Request]) -> Iterator[object]:
        asked_for.update(samples(wanted))
        completions = data.draw(st.permutations(completed(wanted)))
        if data.draw(st.booleans()):
            yield from completions
            return
        given_before_death = data.draw(st.integers(1, len(completions)))
        yield from completions[:given_before_death]
        lost.update(completion[:2] for completion in completions[given_before_death:])
        yield died()

    found = Counter(completion[:2] for completion in pool(answers, size).complete(cut(counts)))
    assert found == Counter(samples(requests(counts)))
    assert asked_for == found + lost


def test_a_completion_that_an_engine_gives_twice_comes_once() -> None:
    assert len(list(pool(lambda wanted: completed(wanted) * 2).complete(cut([9, 2])))) == 11


def test_an_engine_that_leaves_out_completions_is_a_defect_and_not_asked_for_ever() -> None:
    with pytest.raises(RuntimeError, match="left out 1 completions"):
        list(pool(lambda wanted: completed(wanted)[1:]).complete(cut([3, 0])))


def test_work_over_which_actors_die_again_and_again_is_given_up() -> None:
    with pytest.raises(UserError, match="died 6 times in a row"):
        list(pool(lambda wanted: [died()]).complete(cut([9])))


def test_a_refusal_is_the_engines_own_sentence() -> None:
    with pytest.raises(UserError, match=r"^no$"):
        list(pool(lambda wanted: [refused("no")]).complete(cut([9])))


def test_what_was_given_up_is_neither_given_to_the_next_nor_asked_for_again() -> None:
    """Not even where an actor dies or refuses late, over work that nobody waits for any more."""
    late = deque([completed(requests([9])), [died()], [refused("late")]])
    actors = pool(lambda wanted: [*completed(wanted)[:1], *late.popleft()] if late else completed(wanted), size=3)
    given_up = actors.complete(cut([9], capacity=3, replicas=3))
    next(given_up)
    given_up.close()
    assert not late
    again = list(actors.complete(cut([9, 2])))
    assert Counter(completion[:2] for completion in again) == Counter(samples(requests([9, 2])))
