"""The ray engine: actors on one machine or on many, which hold one of the other engines each and share the requests.

Randomness belongs to the samples, so it makes no difference which actor completes what, or how often: the tables are
those of the actors' engine, and so is the journal, which the driver alone writes. Why these are plain actors, and not
`map_batches` of Ray Data, is told in docs/decisions/0012-ray-data.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from datetime import date as Date
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from selftaught_assets.engines import chat
from selftaught_assets.engines.protocol import Completion, Engine, Prompt, Request
from selftaught_assets.engines.ray.actors import ActorPool, Batch, EngineActor, Opened
from selftaught_assets.engines.ray.cluster import actor_options, connected
from selftaught_assets.recipe.engines import TEMPLATE_DATE, EngineSettings, RaySettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CAPACITIES_IN_A_BATCH = 8
"""While the last samples of a batch end, its actor is not full: for about an eighth of the time. More would leave more
to a single actor at the end, where one is killed."""

OpenEngine = Callable[[EngineSettings, ModelReference], AbstractContextManager[Engine]]
"""Opens the engine that an actor holds. It travels to the actors, so it is a function of a module."""


class RayEngine:
    """Actors at work. Use `open_engine`, which ends them."""

    def __init__(
        self,
        pool: ActorPool,
        opened: Opened,
        replicas: int,
        tokenizer: "PreTrainedTokenizerBase",
        at_the_end: ExitStack,
    ) -> None:
        self.model_digest = opened.model_digest
        self.identity = opened.identity
        self.capacity = replicas * opened.capacity
        self._pool = pool
        self._cut = partial(cut_into_batches, capacity=opened.capacity, replicas=replicas)
        self._tokenizer = tokenizer
        self._at_the_end = at_the_end

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date, reply, choices)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index).

        Raises:
            UserError: an actor's engine refuses the requests, or actors are killed over and over.
        """
        return self._pool.complete(self._cut(requests))

    def close(self) -> None:
        """Ends the actors, and the cluster if it is a local one."""
        self._at_the_end.close()


def load_engine(settings: RaySettings, model: ModelReference, open_engine: OpenEngine) -> RayEngine:
    """Connects to the cluster, starts the actors there, and waits for the first that has opened its engine.

    Args:
        settings: the cluster, and what each actor holds and has for itself.
        model: what each actor opens; its paths have to exist on every machine.
        open_engine: opens an engine by its settings.

    Raises:
        UserError: as `connected`, or as `open_engine` does on the cluster.
    """
    tokenizer = chat.load_tokenizer(model.base)
    paths = replace(model, base=model.base.absolute(), adapter=model.adapter and model.adapter.absolute())
    with ExitStack() as stack:
        stack.enter_context(connected(settings))
        import ray

        actor = ray.remote(EngineActor).options(**actor_options(settings))
        start = partial(actor.remote, partial(open_engine, settings.engine, paths))
        pool = stack.enter_context(closing(ActorPool(start, settings.replicas)))
        return RayEngine(pool, pool.wait_until_open(), settings.replicas, tokenizer, stack.pop_all())


def cut_into_batches(requests: Iterable[Request], *, capacity: int, replicas: int) -> Iterator[Batch]:
    """Cuts the samples into batches, in their order: large ones, then smaller ones, so that all actors end together.

    So many samples are looked at that the end is seen in time; no more of the requests are in memory.

    Args:
        requests: what is asked for; the samples of a request may be spread over batches.
        capacity: samples that one actor works on together. No batch is smaller, as long as there is enough for all.
        replicas: actors.
    """
    coming = (((request.request_id, index), request) for request in requests for index in request.sample_indices)
    largest = _CAPACITIES_IN_A_BATCH * capacity
    ahead = 2 * replicas * largest  # While there are so many, batches are as large as they get.
    samples = list(islice(coming, ahead))
    smallest = min(capacity, -(-len(samples) // replicas))
    while samples:
        size = min(largest, max(smallest, -(-len(samples) // (2 * replicas))), len(samples))
        yield dict(samples[:size])
        samples = [*samples[size:], *islice(coming, size)]
