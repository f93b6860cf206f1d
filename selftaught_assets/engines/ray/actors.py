"""The actors of the ray engine: what each runs on the cluster, and the pool that keeps them at work.

An actor works on one batch at a time and streams each completion as it finishes. If it dies, the pool starts another
in its place, and hands back what had not arrived. So nothing is asked for twice, and nothing has to be filtered out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines.protocol import Completion, Engine, Request
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from ray import ObjectRefGenerator
    from ray.actor import ActorHandle

_DEATHS_IN_A_ROW = 6
"""Whatever kills that many actors, without a completion in between, will do so again."""

Batch = dict[tuple[str, int], Request]
"""Samples that are still to come, by request id and sample index, with the request that each belongs to."""


class Opened(NamedTuple):
    """What an actor's engine says of itself (see `Engine`)."""

    model_digest: str
    identity: str
    capacity: int


class EngineActor:
    """Runs on the cluster: one of the other engines, open as long as the actor lives."""

    def __init__(self, lend_engine: Callable[[], AbstractContextManager[Engine]]) -> None:
        self._lend_engine = lend_engine
        self._engine: Engine | None = None

    def open(self) -> Iterator[Opened]:
        """Opens the engine.

        Raises:
            UserError: it cannot be opened.
        """
        engine = self._opened()
        yield Opened(engine.model_digest, engine.identity, engine.capacity)

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Yields completions as they finish.

        Raises:
            UserError: the engine cannot be opened, or refuses the requests.
        """
        # Ray sends values into the generator, which `yield from` would pass on to the engine.
        for completion in self._opened().generate(requests):  # noqa: UP028
            yield completion

    def _opened(self) -> Engine:
        if self._engine is None:
            self._lent = self._lend_engine()
            self._engine = self._lent.__enter__()
        return self._engine


@dataclass
class _Job:
    """What an actor is doing: it completes a batch, or opens its engine and owes nothing."""

    actor: "ActorHandle"
    owed: Batch
    given_up: bool = False


class ActorPool:
    """Actors at work. Needs a process that is connected to Ray."""

    def __init__(self, start: Callable[[], "ActorHandle"], size: int) -> None:
        """Starts the actors, which open their engines.

        Args:
            start: starts one `EngineActor`.
            size: how many there are at any time.
        """
        self._start = start
        self._jobs: dict[ObjectRefGenerator, _Job] = {}
        self._idle: list[ActorHandle] = []
        self._deaths = 0
        for _ in range(size):
            self._add()

    def wait_until_open(self) -> Opened:
        """What the first engine that is open says of itself.

        Raises:
            UserError: it cannot be opened, or actors die over and over.
        """
        while not isinstance(item := self._next()[1], Opened):
            pass
        return item

    def complete(self, batches: Iterable[Batch]) -> Iterator[Completion]:
        """Completes the batches, each by whichever actor is free first. What an actor that dies owes comes next.

        Raises:
            UserError: an engine cannot be opened or refuses a batch, or actors die over and over.
        """
        coming, returned = iter(batches), deque[Batch]()
        batch = next(coming, None)
        try:
            while batch or any(job.owed for job in self._jobs.values()):
                while batch and self._idle:
                    self._submit(batch)
                    batch = returned.popleft() if returned else next(coming, None)
                job, item = self._next()
                if isinstance(item, Completion):
                    if job.owed.pop((item.request_id, item.sample_index), None) is not None:
                        yield item
                elif item is None and job.owed:
                    if batch:
                        returned.appendleft(batch)
                    batch = job.owed
        finally:
            for job in self._jobs.values():
                if job.owed:
                    job.owed, job.given_up = {}, True

    def close(self) -> None:
        """Ends the actors, whatever they are doing."""
        import ray

        for actor in [*self._idle, *(job.actor for job in self._jobs.values())]:
            ray.kill(actor)

    def _add(self) -> None:
        actor = self._start()
        self._jobs[actor.open.remote()] = _Job(actor, {})

    def _submit(self, batch: Batch) -> None:
        actor = self._idle.pop()
        self._jobs[actor.generate.remote(_requests(batch))] = _Job(actor, batch)

    def _next(self) -> tuple[_Job, Opened | Completion | None]:
        """What comes next from any actor; None if its job is over, with what it owes where the actor died."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        (stream,), _ = ray.wait(list(self._jobs), num_returns=1)
        job = self._jobs.pop(stream)
        try:
            item = ray.get(next(stream))
        except StopIteration:
            self._idle.append(job.actor)
            if job.owed:
                raise RuntimeError(f"The engine of an actor left out {len(job.owed)} completions.") from None
            return job, None
        except RayTaskError as error:
            self._idle.append(job.actor)
            if job.given_up:
                return job, None
            raise (error.cause if isinstance(error.cause, UserError) else error) from None
        except RayError as error:
            self._replace(job.actor, error)
            return job, None
        self._jobs[stream] = job  # Behind the others, so that each has its turn.
        if isinstance(item, Completion):
            self._deaths = 0
        return job, item

    def _replace(self, actor: "ActorHandle", error: Exception) -> None:
        import ray

        ray.kill(actor)  # It may be out of reach, but alive.
        self._add()
        self._deaths += 1
        if self._deaths == _DEATHS_IN_A_ROW:
            raise UserError(
                f"Ray actors died {self._deaths} times in a row, so the stage stops: give them more "
                f"memory, or lower `max_rows` of their engine ({' '.join(str(error).split())[:300]})."
            )


def _requests(batch: Batch) -> list[Request]:
    indices: dict[str, list[int]] = {}
    for request_id, index in batch:
        indices.setdefault(request_id, []).append(index)
    return [
        replace(batch[request_id, wanted[0]], sample_indices=tuple(wanted)) for request_id, wanted in indices.items()
    ]
