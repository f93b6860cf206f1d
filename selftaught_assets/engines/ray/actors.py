"""What runs on the cluster for the ray engine: the stream of portions, and the actors that complete them."""

import asyncio
import pickle
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING

from selftaught_assets.engines.protocol import Completion
from selftaught_assets.engines.ray.portions import Finished, Handful, Message, Opened, Portion, Refused
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import EngineSettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.actor import ActorHandle

_HANDFULS_IN_A_BATCH = 4
_SMALLEST_HANDFUL = 32
"""Ray Data takes about ten rows a second from each actor."""


class Desk:
    """Where the driver lays portions down, numbered from 0, for the source to read: a Ray actor.

    Ray starts a source again where its process is lost, and then it must give what it gave before: a portion stays on
    the desk until it is finished.
    """

    def __init__(self) -> None:
        self._portions: dict[int, bytes] = {}
        self._laid = 0
        self._changed = asyncio.Condition()

    async def lay(self, portion: bytes) -> None:
        """Adds the portion with the next number."""
        async with self._changed:
            self._portions[self._laid] = portion
            self._laid += 1
            self._changed.notify_all()

    async def read(self, number: int) -> bytes:
        """The portion of this number, once it is there; empty if it is finished."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._laid > number)
        return self._portions.get(number, b"")

    async def clear(self, number: int) -> None:
        """Forgets a finished portion."""
        self._portions.pop(number, None)


def read_portions(_: "pa.Table", desk: "ActorHandle") -> "Iterator[pa.Table]":
    """The source: a row for each portion, for ever."""
    import ray

    for number in count():
        yield _row(number, ray.get(desk.read.remote(number)))


class Completer:
    """An actor: one of the other engines, and what it answers to portions."""

    def __init__(self, settings: EngineSettings, model: ModelReference) -> None:
        from selftaught_assets.engines.factory import open_engine

        self._refusal: Refused | None = None
        self._opened = open_engine(settings, model)
        try:
            self._engine = self._opened.__enter__()
        except UserError as error:
            self._refusal = Refused(str(error))

    def __call__(self, row: "pa.Table") -> "Iterator[pa.Table]":
        """Answers a portion with messages, one row each.

        Where an actor is killed, Ray has its portion done again and leaves out as many rows as it has already. So the
        number of rows depends on the portion alone; what is in them may differ, and the driver's ledger sees to that.
        """
        number, content = row["number"][0].as_py(), row["content"][0].as_py()
        for message in self._answers(pickle.loads(content) if content else ()):
            yield _row(number, pickle.dumps(message))

    def _answers(self, portion: Portion) -> Iterator[Message]:
        if self._refusal is not None:
            yield self._refusal
            return
        if not portion:
            yield Opened(self._engine.model_digest, self._engine.identity, self._engine.capacity)
            return
        try:
            handful = max(_SMALLEST_HANDFUL, self._engine.capacity // _HANDFULS_IN_A_BATCH)
            yield from _handfuls(self._engine.generate(portion), handful)
        except UserError as error:
            yield Refused(str(error))
        else:
            yield Finished()


def _handfuls(completions: Iterable[Completion], size: int) -> Iterator[Handful]:
    iterator = iter(completions)
    while handful := tuple(islice(iterator, size)):
        yield Handful(handful)


def _row(number: int, content: bytes) -> "pa.Table":
    import pyarrow as pa

    return pa.table({"number": pa.array([number], pa.int64()), "content": pa.array([content], pa.binary())})
