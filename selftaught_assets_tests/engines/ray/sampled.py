"""What the tests of the ray engine sample, and what they hold it to: no tests here."""

from collections.abc import Iterable

import polars as pl
import psutil
from polars.testing import assert_frame_equal

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import Generated, GenerationTask, generate
from selftaught_assets.engines.protocol import Completion, Engine
from selftaught_assets.recipe.engines import EngineSettings, RaySettings, SamplingParameters, TransformersSettings
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets.storage.models import ModelReference
from selftaught_assets_tests.engines.conftest import by_sample
from selftaught_assets_tests.engines.processes import children, command

ALONE = TransformersSettings(device="cpu", max_rows=8)
ACTORS = RaySettings(name="ray", engine=ALONE, replicas=2, cpus=0.25)
"""Room for a few such engines on a machine with one processor."""
TASKS = [GenerationTask(f"task {i}", [{"role": "user", "content": f"question {i}"}], n=8, seed=i) for i in range(60)]


def sampled(settings: EngineSettings, model: ModelReference, journal: Journal | MemoryJournal) -> Generated:
    with open_engine(settings, model) as engine:
        return tasks_sampled(engine, journal)


def tasks_sampled(engine: Engine, journal: Journal | MemoryJournal) -> Generated:
    return generate(engine, journal, TASKS, SamplingParameters(max_tokens=40), lambda progress: None)


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """The same samples in the same order, with the same texts; one in a hundred may differ.

    Another process may round another way in the last bit, and a draw then falls on the other side: under heavy load one
    sample of 480 was seen to differ, in one comparison of many.
    """
    key = ["request_id", "sample_index"]
    assert_frame_equal(found.select(key), expected.select(key))
    differing = (found["text"] != expected["text"]).sum()
    assert differing <= found.height / 100, f"{differing} of {found.height} samples differ"


def assert_same_completions(found: Iterable[Completion], expected: Iterable[Completion]) -> None:
    frames = [
        pl.DataFrame(sorted(by_sample(completions).values()), orient="row", schema=list(Completion._fields))
        for completions in (found, expected)
    ]
    assert_same(*frames)


def actors() -> list[psutil.Process]:
    """The processes of ours that hold models."""
    return [process for process in children() if command(process).startswith("ray::EngineActor")]
