"""Twenty kills at random moments of `judgments`, four in succession: no completion on record is sampled again, and the
table is the same.

Each run of the asset is a process of its own with the real seed model, forked from one that has imported everything
already. A run notes every completion that its engine yields in a file, a byte each, which outlives a kill. The moments
are drawn by what was sampled until then, not by the clock, so that a slow machine is killed at the same places.
"""

import gc
import os
import random
import shutil
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.engines.embedded.engine import TransformersEngine
from selftaught_assets.engines.protocol import Completion
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.conftest import SMALL, write_small_recipe
from selftaught_assets_tests.forks import context

STORIES, KILLS = 5, 4
"""Folders, and kills in each before a run that nobody disturbs."""
UNFLUSHED = 4
"""Completions that a run holds, at most, before it appends them: those in flight. What the engine has begun and not
finished is no completion yet."""
ITERATION = "iteration_01"
SLOW_SAMPLING = {
    "engine": {"max_rows": 4, "device": "cpu"},
    "instructions": {"count": 24},
    "judgments": SMALL["judgments"] | {"n": 4},
}


class Place(NamedTuple):
    """A folder with the recipe, and in it the data of one story of runs."""

    recipe: Path
    data: Path

    @property
    def yielded(self) -> int:
        """Completions that engines yielded here, in all runs."""
        notes = self.data / "yielded"
        return notes.stat().st_size if notes.exists() else 0

    @property
    def journalled(self) -> int:
        shards = (self.data / "small" / "journal" / "judgments").glob("[!.]*.parquet")
        return sum(pl.read_parquet(shard).height for shard in shards)

    @property
    def table(self) -> pl.DataFrame:
        return pl.read_parquet(self.data / "small" / "judgments" / f"{ITERATION}.parquet")

    def loop(self, instance: dg.DagsterInstance) -> Loop:
        return Loop(load_recipe(str(self.recipe)), self.data, instance)


def judge(place: Place) -> None:
    """Materializes `judgments`; the body of a process."""
    gc.freeze()  # What the imports left would cost each run a second, when the engine gives its memory back.
    generate = TransformersEngine.generate

    def noting(*arguments: object) -> Iterator[Completion]:
        notes = os.open(place.data / "yielded", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for completion in generate(*arguments):
            os.write(notes, b".")
            yield completion

    TransformersEngine.generate = noting
    journalled.FLUSH_COMPLETIONS = UNFLUSHED
    with dg.DagsterInstance.ephemeral() as instance:
        place.loop(instance).run("iteration", ITERATION, ["judgments"])


def start(place: Place) -> ForkServerProcess:
    process = context().Process(target=judge, args=(place,))
    process.start()
    return process


def finish(place: Place) -> None:
    """A run that nobody disturbs."""
    process = start(place)
    process.join()
    assert process.exitcode == 0


def kill(place: Place, new: int, delay: float) -> None:
    """Kills a run `delay` seconds after it yielded `new` completions."""
    wanted = place.yielded + new
    victim = start(place)
    while place.yielded < wanted and victim.is_alive():
        time.sleep(0.001)
    time.sleep(delay)
    victim.kill()
    victim.join()


@pytest.mark.slow
def test_twenty_kills_lose_at_most_what_was_in_flight_and_change_nothing(tmp_path: Path) -> None:
    prepared = Place(write_small_recipe(tmp_path, **SLOW_SAMPLING), tmp_path / "prepared")
    with dg.DagsterInstance.ephemeral() as instance:
        loop = prepared.loop(instance)
        loop.run("prepare", assets=["instruction_pool", "seed_model"])
        loop.run("iteration", ITERATION, ["instructions", "pairs", "judge"])

    def copied(name: str) -> Place:
        return Place(prepared.recipe, Path(shutil.copytree(prepared.data, tmp_path / name)))

    undisturbed = copied("undisturbed")
    finish(undisturbed)
    assert undisturbed.yielded == undisturbed.journalled == undisturbed.table.height

    remembered = []
    for story in range(STORIES):
        place, lost = copied(f"story_{story}"), 0
        for number in range(KILLS):
            moment = random.Random(KILLS * story + number)
            kill(place, moment.randint(0, undisturbed.yielded // 3), moment.uniform(0, 0.02))
            on_record = place.journalled
            in_flight = place.yielded - lost - on_record
            assert 0 <= in_flight <= UNFLUSHED
            lost += in_flight
            remembered.append(on_record)
        finish(place)
        assert place.yielded - undisturbed.yielded == lost
        assert place.journalled == undisturbed.journalled
        assert place.table.equals(undisturbed.table)
    assert sum(0 < count < undisturbed.journalled for count in remembered) >= 3, remembered
