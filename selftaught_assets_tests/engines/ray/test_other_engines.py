"""Actors that hold vLLM, or ask a server, on a real local cluster: the rest of the ray engine is in test_engine.py."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import psutil
import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.protocol import Engine, identity
from selftaught_assets.recipe.engines import EngineSettings, RaySettings, TransformersSettings, VllmSettings
from selftaught_assets_tests.engines.conformance import SEED, ask
from selftaught_assets_tests.engines.conftest import by_sample
from selftaught_assets_tests.engines.processes import children, command, needs_vllm, wait_for
from selftaught_assets_tests.engines.ray.sampled import actors
from selftaught_assets_tests.vllm_server import VllmServer

pytestmark = needs_vllm
TASKS = [f"Sort the numbers up : {first} 19 {second}" for first in (27, 31, 55) for second in (11, 24, 42, 90)]


def in_actors(settings: EngineSettings, replicas: int) -> RaySettings:
    return RaySettings(name="ray", engine=settings, replicas=replicas, cpus=0.5)


def texts(engine: Engine, *, n: int, **sampling: object) -> dict[tuple[str, int], str]:
    requests = ask(engine, TASKS, samples=tuple(range(n)), max_tokens=30, **sampling)
    return {key: completion.text for key, completion in by_sample(engine.generate(requests)).items()}


@pytest.fixture(scope="module")
def embedded_greedy() -> dict[tuple[str, int], str]:
    with open_engine(TransformersSettings(device="cpu"), SEED) as engine:
        return texts(engine, n=1, temperature=0)


class Held(NamedTuple):
    """An engine with one actor that holds vLLM."""

    engine: Engine
    close: Callable[[], None]
    before: set[psutil.Process]
    """vLLM's processes that others had started."""


@pytest.fixture(scope="module")
def held(ray_cluster: RaySettings) -> Iterator[Held]:
    before = vllms()
    with ExitStack() as stack:
        settings = in_actors(VllmSettings(name="vllm", eager=True), replicas=1)
        yield Held(stack.enter_context(open_engine(settings, SEED)), stack.close, before)


def test_an_actor_with_vllm_gives_its_samples(held: Held, embedded_greedy: dict[tuple[str, int], str]) -> None:
    assert (held.engine.model_digest, held.engine.identity) == (SEED.digest, identity(SEED.digest, "float32"))
    assert texts(held.engine, n=1, temperature=0) == embedded_greedy
    sampled = texts(held.engine, n=4, temperature=1.0)
    assert texts(held.engine, n=4, temperature=1.0) == sampled
    assert len(set(sampled.values())) > len(TASKS)


def test_an_actor_with_vllm_ends_its_processes(held: Held) -> None:
    assert vllms() - held.before
    held.close()
    wait_for(lambda: vllms() <= held.before and actors() == [])  # A killed process takes a moment to end.


def vllms() -> set[psutil.Process]:
    """vLLM's own processes below this one."""
    return {process for process in children() if "VLLM" in command(process)}


def test_actors_that_ask_a_server_give_what_it_gives_to_one(
    vllm_server: VllmServer, ray_cluster: RaySettings, embedded_greedy: dict[tuple[str, int], str]
) -> None:
    server = vllm_server.settings()
    with open_engine(server, SEED) as alone:
        sampled = texts(alone, n=4, temperature=1.0)
    with open_engine(in_actors(server, replicas=2), SEED) as engine:
        assert texts(engine, n=1, temperature=0) == embedded_greedy
        assert texts(engine, n=4, temperature=1.0) == sampled
