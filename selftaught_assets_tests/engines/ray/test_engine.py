"""The ray engine on one local cluster with two actors, held to the engine that its actors hold.

Clusters with another life: test_clusters.py. Actors that hold other engines: test_other_engines.py.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import Generated
from selftaught_assets.engines.protocol import Engine, Request
from selftaught_assets.engines.ray import cluster
from selftaught_assets.engines.ray.actors import EngineActor
from selftaught_assets.engines.ray.engine import RayEngine
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import RaySettings
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets.storage.models import ModelReference
from selftaught_assets_tests.engines.conftest import request
from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.engines.ray.sampled import (
    ACTORS,
    ALONE,
    actors,
    assert_same,
    assert_same_completions,
    tasks_sampled,
)


@pytest.fixture(scope="module")
def alone(model: ModelReference) -> Iterator[Engine]:
    with open_engine(ALONE, model) as engine:
        yield engine


@pytest.fixture(scope="module")
def engine(ray_cluster: RaySettings, model: ModelReference) -> Iterator[RayEngine]:
    with open_engine(ACTORS, model) as engine:
        yield engine


def many_requests() -> list[Request]:
    """More than fits into a batch; one request alone is as large as several."""
    few = [request(f"prompt {i}", name=str(i), n=i % 7, seed=i, max_tokens=24) for i in range(80)]
    return [*few, request("the large one", name="large", n=200, seed=1, max_tokens=12)]


def test_the_samples_are_those_of_the_actors_engine(engine: RayEngine, alone: Engine) -> None:
    assert_same_completions(engine.generate(many_requests()), alone.generate(many_requests()))


def test_no_requests_give_no_completions(engine: RayEngine) -> None:
    assert list(engine.generate([])) == []


def test_it_is_the_same_model_to_the_journal_and_renders_alike(engine: RayEngine, alone: Engine) -> None:
    messages = [{"role": "user", "content": "Is <|im_end|> a token? 🦉"}]
    assert engine.render(messages) == alone.render(messages)
    assert (engine.model_digest, engine.identity) == (alone.model_digest, alone.identity)
    assert engine.capacity == 2 * alone.capacity


def test_the_table_and_the_journal_are_those_of_the_actors_engine(
    engine: RayEngine, alone: Engine, undisturbed: Generated, tmp_path: Path
) -> None:
    first = tasks_sampled(engine, Journal(tmp_path))
    assert_same(first.frame, undisturbed.frame)
    again = tasks_sampled(alone, Journal(tmp_path))
    assert again.sampled.completions == 0
    assert_frame_equal(again.frame, first.frame)


def test_each_actor_loads_its_model_once_and_computes_with_its_own_threads_only(engine: RayEngine) -> None:
    wait_for(lambda: len(actors()) == 2)
    before = {process.pid for process in actors()}
    for seed in (1, 2):
        assert len(list(engine.generate([request("abc", n=40, seed=seed, max_tokens=5)]))) == 40
    assert {process.pid for process in actors()} == before
    assert {process.environ()["OMP_NUM_THREADS"] for process in actors()} == {"1"}


def test_an_actor_killed_midway_costs_time_but_no_row(engine: RayEngine, undisturbed: Generated) -> None:
    killed: list[int] = []

    class Watched:
        """The engine, until a few of its completions are there: then an actor that is at work dies."""

        model_digest, identity, capacity, render = engine.model_digest, engine.identity, engine.capacity, engine.render

        def generate(self, requests: object) -> Iterator[object]:
            for place, completion in enumerate(engine.generate(requests)):
                if place == 20:
                    victim = max(actors(), key=lambda process: process.cpu_percent(interval=0.2))
                    victim.send_signal(signal.SIGKILL)
                    killed.append(victim.pid)
                yield completion

    generated = tasks_sampled(Watched(), MemoryJournal())
    assert len(killed) == 1
    assert_same(generated.frame, undisturbed.frame)
    assert generated.sampled.completions == 60 * 8
    assert not set(killed) & {process.pid for process in actors()}


def test_a_generation_that_was_given_up_leaves_nothing_to_the_next(engine: RayEngine, alone: Engine) -> None:
    given_up = engine.generate(many_requests())
    next(given_up)
    given_up.close()
    again = [request("prompt 1", name="1", n=6, seed=99, max_tokens=24)]
    assert_same_completions(engine.generate(again), alone.generate(again))


def test_an_engine_that_cannot_be_opened_says_why_as_its_actors_would_and_leaves_other_engines_alone(
    engine: RayEngine, model_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    broken = ModelReference(folder, None, "")
    with pytest.raises(UserError) as alone, open_engine(ALONE, broken):
        pass
    with pytest.raises(UserError) as with_ray, open_engine(ACTORS.model_copy(update={"replicas": 1}), broken):
        pass
    assert str(with_ray.value) == str(alone.value)
    wait_for(lambda: len(actors()) == 2)
    assert len(list(engine.generate([request("abc")]))) == 1


def test_an_actor_that_has_another_model_at_the_path_refuses_it(model: ModelReference) -> None:
    elsewhere = replace(model, stamps={}, digest="f" * 64)  # As on a machine with another copy of the folder.
    with pytest.raises(UserError, match=r"has changed \(ffffffffffffffff"):
        next(EngineActor(partial(open_engine, ALONE, elsewhere)).open())


@pytest.mark.parametrize("change", [{"replicas": 1000, "cpus": 1}, {"gpus": 1, "replicas": 9}])
def test_more_replicas_than_there_is_room_for_are_refused(
    change: dict[str, int], engine: RayEngine, model: ModelReference
) -> None:
    with (
        pytest.raises(UserError, match=r"has room for [0-9]+: lower"),
        open_engine(ACTORS.model_copy(update=change), model),
    ):
        pass


def test_a_local_cluster_that_is_full_is_not_waited_for(
    engine: RayEngine, model: ModelReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_ROOM_SECONDS", 0.5)
    full = ACTORS.model_copy(update={"replicas": 1, "cpus": os.cpu_count()})
    with pytest.raises(UserError, match="no room left"), open_engine(full, model):
        pass


def test_ray_that_is_not_installed_is_the_users_mistake(model: ModelReference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'selftaught-assets\[ray\]'"), open_engine(ACTORS, model):
        pass
