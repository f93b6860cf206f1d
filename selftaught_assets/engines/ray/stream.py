"""The driver's end of the ray engine: a Ray Data execution that takes portions and gives answers.

One execution lives as long as the engine, so that each actor loads its model once, however often a stage asks. Its
source is a task that reads portions off a desk, where the driver lays them as they are needed: the requests of a
large stage are never all in Ray's memory.
"""

import logging
import pickle
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines.ray.portions import Message, Portion
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import RaySettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.actor import ActorHandle
    from ray.data import DataContext

_TRIES_OF_A_PORTION = 5
"""Whatever kills an actor that often over one portion will do so again."""


class Answer(NamedTuple):
    """A message about the portion of that number."""

    number: int
    message: Message


class Stream:
    """Portions in, answers out, in any order. Needs a process that is connected to Ray."""

    def __init__(self, settings: RaySettings, model: ModelReference, environment: dict[str, str]) -> None:
        """Starts the actors.

        Args:
            settings: replicas, their engine and resources.
            model: what each actor opens.
            environment: variables of the actors' processes.
        """
        import ray

        from selftaught_assets.engines.ray.actors import Desk

        self._laid = 0
        self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=_this_machine()).remote()
        self._rows = _start(settings, model, self._desk, environment)

    def lay(self, portion: Portion) -> int:
        """Hands a portion out; returns the number that its answers have. An empty one is answered with `Opened`."""
        import ray

        ray.get(self._desk.lay.remote(pickle.dumps(portion)))
        self._laid += 1
        return self._laid - 1

    def clear(self, number: int) -> None:
        """Forgets a portion that is finished."""
        self._desk.clear.remote(number)

    def next_answer(self) -> Answer:
        """The next answer to any portion. Waits for it, so there has to be a portion at work.

        Raises:
            UserError: actors were killed over and over.
        """
        from ray.exceptions import RayError, RayTaskError

        try:
            row = next(self._rows)
        except RayTaskError:
            raise  # A defect in what the actor runs.
        except RayError as error:
            raise UserError(
                f"The Ray actors ended {_TRIES_OF_A_PORTION + 1} times over the same work, so it was given up: give "
                f"them more memory, or lower `max_rows` of their engine ({' '.join(str(error).split())[:300]})."
            ) from None
        return Answer(row["number"][0].as_py(), pickle.loads(row["content"][0].as_py()))

    def close(self) -> None:
        """Ends the actors, whatever they are doing."""
        import ray

        self._rows.close()
        ray.kill(self._desk)


def _start(
    settings: RaySettings, model: ModelReference, desk: "ActorHandle", environment: dict[str, str]
) -> "Iterator[pa.Table]":
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from selftaught_assets.engines.ray.actors import Completer, read_portions

    # Errors reach the user as exceptions; Ray Data prints them too, and every execution that begins or ends.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with DataContext.current(_options(DataContext.get_current())), warnings.catch_warnings():
        # Ray 2.64 is going to limit retries in another way, which this version has not got.
        warnings.simplefilter("ignore", DeprecationWarning)
        source = ray.data.from_arrow(pa.table({"number": [0]})).map_batches(
            read_portions, batch_size=None, batch_format="pyarrow", fn_args=(desk,), num_cpus=0
        )
        answers = source.map_batches(
            Completer,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(settings.engine, model),
            # A portion waits until an actor is free, never in the queue of one that is at work.
            compute=ActorPoolStrategy(size=settings.replicas, max_tasks_in_flight_per_actor=1),
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            runtime_env={"env_vars": environment},
            max_task_retries=_TRIES_OF_A_PORTION,
        )
        return iter(answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))


def _options(defaults: "DataContext") -> "DataContext":
    options = defaults.copy()
    options.enable_progress_bars = False
    options.print_on_execution_start = False
    options.target_max_block_size = 1  # A row leaves its task as soon as it is there.
    options.execution_no_progress_timeout_s = -1  # A stage may ask for nothing for a long time.
    options.max_consecutive_actor_init_deaths = _TRIES_OF_A_PORTION
    return options


def _this_machine() -> object:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
