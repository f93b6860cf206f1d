"""What travels between the driver and the actors of the ray engine: portions of requests, and the answers to them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from selftaught_assets.engines.protocol import Completion, Request

_BATCHES_IN_A_PORTION = 8
"""While the last samples of a portion end, the actor's batch is not full: for about an eighth of its time. More would
cost more where an actor is killed, since its portion is done again as a whole."""

Portion = tuple[Request, ...]


@dataclass(frozen=True)
class Opened:
    """An actor has opened its engine, which is the one that these belong to (see `Engine`)."""

    model_digest: str
    identity: str
    capacity: int


@dataclass(frozen=True)
class Handful:
    """Completions of a portion that is still at work."""

    completions: tuple[Completion, ...]


@dataclass(frozen=True)
class Finished:
    """All completions of the portion were sent."""


@dataclass(frozen=True)
class Refused:
    """The user's mistake, in one sentence, that kept the actor from its engine or the engine from the portion."""

    sentence: str


Message = Opened | Handful | Finished | Refused


def cut_into_portions(requests: Sequence[Request], *, capacity: int, replicas: int) -> Iterator[Portion]:
    """Cuts the samples into portions, in their order: large ones, then smaller ones, so that all actors end together.

    Args:
        requests: what is asked for; a request may be spread over portions.
        capacity: samples that one actor works on together. No portion is smaller, as long as there is enough for all.
        replicas: actors.
    """
    left = sum(len(request.sample_indices) for request in requests)
    smallest = min(capacity, -(-left // replicas))
    portion: list[Request] = []
    room = _portion_size(left, smallest, capacity, replicas)
    for request in requests:
        indices = request.sample_indices
        while indices:
            portion.append(replace(request, sample_indices=indices[:room]))
            taken, indices = indices[:room], indices[room:]
            room -= len(taken)
            left -= len(taken)
            if room == 0:
                yield tuple(portion)
                portion, room = [], _portion_size(left, smallest, capacity, replicas)
    if portion:
        yield tuple(portion)


def _portion_size(left: int, smallest: int, capacity: int, replicas: int) -> int:
    return min(_BATCHES_IN_A_PORTION * capacity, max(smallest, -(-left // (2 * replicas))))


class Ledger:
    """Which samples are still owed. Whatever is lost or sent twice on the way, each comes out exactly once."""

    def __init__(self, portions: Iterable[Portion]) -> None:
        self._portions = iter(portions)
        self._again: deque[Portion] = deque()
        self._at_work: dict[int, Portion] = {}
        self._owed: dict[int, set[tuple[str, int]]] = {}

    @property
    def at_work(self) -> tuple[int, ...]:
        """The numbers of the portions that were handed out and are not finished."""
        return tuple(self._at_work)

    def next_portion(self) -> Portion | None:
        """What to hand out next: first what was lost on the way; None if there is nothing for now."""
        return self._again.popleft() if self._again else next(self._portions, None)

    def handed_out(self, number: int, portion: Portion) -> None:
        """Puts a portion on the account, under the number that its answers have."""
        self._at_work[number] = portion
        self._owed[number] = {(request.request_id, index) for request in portion for index in request.sample_indices}

    def received(self, number: int, completions: Iterable[Completion]) -> Iterator[Completion]:
        """Those of the completions that were still owed; none if the portion is not on the account."""
        owed = self._owed.get(number, set())
        for completion in completions:
            sample = completion.request_id, completion.sample_index
            if sample in owed:
                owed.remove(sample)
                yield completion

    def finished(self, number: int) -> None:
        """Closes a portion. What is still owed of it is handed out again.

        Raises:
            RuntimeError: the engine gave none of the portion's completions.
        """
        if number not in self._at_work:
            return
        portion, owed = self._at_work.pop(number), self._owed.pop(number)
        if not owed:
            return
        if len(owed) == sum(len(request.sample_indices) for request in portion):
            raise RuntimeError(f"The engine of an actor left out {len(owed)} completions.")
        wanted = (
            replace(r, sample_indices=tuple(i for i in r.sample_indices if (r.request_id, i) in owed)) for r in portion
        )
        self._again.append(tuple(request for request in wanted if request.sample_indices))
