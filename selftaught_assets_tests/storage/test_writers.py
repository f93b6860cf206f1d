"""Two writers on one data folder: who comes second, what is said, and what a killed one leaves."""

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage import writers
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.writers import begin_stage, end_stage, one_stage, whole_folder

FIRST, SECOND = "iteration_01", "iteration_02"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "demo")


def run(layout: Layout) -> AbstractContextManager[None]:
    return whole_folder(layout, "`selftaught run`")


def stage(layout: Layout, partition: str | None = FIRST) -> AbstractContextManager[None]:
    return one_stage(layout, "judgments", partition, f"`judgments` of {partition} in run 1234")


FORK = multiprocessing.get_context("fork")  # What these processes do needs nothing that a fork could break.


@contextmanager
def elsewhere(kind: Callable[..., AbstractContextManager[None]], *arguments: object) -> Iterator[int]:
    """Another process that holds something; killed at the end. Gives its number."""
    begun = FORK.Event()
    process = FORK.Process(target=hold, args=(kind, arguments, begun))
    process.start()
    assert begun.wait(60)
    yield process.pid
    process.kill()
    process.join()


def hold(kind: Callable[..., AbstractContextManager[None]], arguments: tuple[object, ...], begun: Event) -> None:
    with kind(*arguments):
        begun.set()
        signal.pause()


def refused(held: AbstractContextManager[None]) -> str:
    with pytest.raises(UserError) as said, held:
        pass
    return str(said.value)


def test_a_second_run_is_told_who_is_at_work_since_when_and_where(layout: Layout) -> None:
    with elsewhere(run, layout) as pid:
        said = refused(run(layout))
    assert said.startswith(f"`selftaught run` (process {pid} on {os.uname().nodename}, since 20")
    assert f"is at work on recipe demo in {layout.folder}: wait until it has ended, or stop it" in said


def test_a_stage_is_refused_while_a_run_has_the_folder(layout: Layout) -> None:
    with elsewhere(run, layout) as pid:
        assert refused(stage(layout)).startswith(f"`selftaught run` (process {pid} on ")


def test_a_run_is_refused_while_a_stage_is_made(layout: Layout) -> None:
    with elsewhere(stage, layout) as pid:
        assert refused(run(layout)).startswith(f"`judgments` of iteration_01 in run 1234 (process {pid} on ")


def test_the_same_stage_is_made_once_at_a_time(layout: Layout) -> None:
    with elsewhere(stage, layout) as pid:
        assert refused(stage(layout)).startswith(f"`judgments` of iteration_01 in run 1234 (process {pid} on ")


def test_stages_of_different_iterations_are_made_side_by_side(layout: Layout) -> None:
    with elsewhere(stage, layout), stage(layout, SECOND), stage(layout, None):
        pass


def test_recipes_do_not_disturb_each_other(layout: Layout, tmp_path: Path) -> None:
    with elsewhere(run, layout), run(Layout(tmp_path, "other")):
        pass


def test_a_run_makes_its_own_stages(layout: Layout) -> None:
    with run(layout), stage(layout):
        pass


def make_stage(layout: Layout) -> None:
    with stage(layout):
        pass


def test_steps_that_a_run_starts_make_its_stages(layout: Layout) -> None:
    with run(layout):
        step = FORK.Process(target=make_stage, args=(layout,))
        step.start()
        step.join()
    assert step.exitcode == 0


def test_what_a_killed_process_held_is_free(layout: Layout) -> None:
    with elsewhere(run, layout):
        pass
    with run(layout):
        pass
    with elsewhere(stage, layout):
        pass
    with run(layout), stage(layout):
        pass


def test_a_run_waits_for_what_a_killed_run_left_behind_and_then_names_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "LEFTOVER_SECONDS", 0.3)
    with elsewhere(stage, layout) as pid:
        freed = layout.run_lock.rename(layout.run_lock.with_name("as if its run had been killed"))
        assert refused(run(layout)).startswith(f"`judgments` of iteration_01 in run 1234 (process {pid} on ")
    assert freed.exists()
    with run(layout):
        pass


def test_a_stage_that_ends_elsewhere_is_held_until_then(layout: Layout) -> None:
    begin_stage(layout, "judgments", FIRST, "`judgments`")
    assert refused(stage(layout)).startswith("`judgments` (process ")
    end_stage()
    with stage(layout):
        pass


def test_the_next_stage_of_a_process_ends_the_one_before(layout: Layout) -> None:
    begin_stage(layout, "judgments", FIRST, "`judgments`")
    begin_stage(layout, "filtered_set", FIRST, "`filtered_set`")
    with stage(layout):
        pass
    end_stage()


def test_a_file_system_without_locks_is_written_with_a_warning(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with caplog.at_level(logging.WARNING), run(layout):
        pass
    assert f"{layout.run_lock} cannot be locked (no locks available)" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file where a folder must be")
    assert refused(run(Layout(tmp_path, "demo"))) == f"{tmp_path / 'demo'} cannot be written: file exists."
