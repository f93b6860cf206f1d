"""Runs of a recipe from the terminal: executed through Dagster and shown live, until everything is current."""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from dagster._core.executor.child_process_executor import ChildProcessCrashException
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from sqlalchemy.exc import DBAPIError

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_attempt, newest_version, unpassed
from selftaught_assets.assets.promotion import what_stops, why_not
from selftaught_assets.assets.publication import judge_version, reference_current_checkpoint
from selftaught_assets.commands.console import opened_instance
from selftaught_assets.commands.stopping import raise_if_stopped
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key, previous_iteration
from selftaught_assets.method.scoring.comparison import Outcome
from selftaught_assets.recipe import Recipe
from selftaught_assets.runs import fail_dead_runs
from selftaught_assets.staleness import ITERATION
from selftaught_assets.storage.files import StageProgress, read_progress, writing_into
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import read_pointer
from selftaught_assets.storage.ownership import claim
from selftaught_assets.storage.stored import stale, stored
from selftaught_assets.storage.tables import read_table, table_version
from selftaught_assets.storage.writers import whole_folder

MISSING = "is missing"
"""How a reason ends where nothing was made yet."""


def why_to_run(instance: dg.DagsterInstance, family: Family, iteration: str) -> str | None:
    """The first reason to run an iteration; None if nothing would change.

    Everything is read: a table, a pointer or a checkpoint whose content is not the one that was recorded is a reason.

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        iteration: its partition key.
    """
    for name in ITERATION:
        key, version = family.key(name), newest_version(instance, family.key(name), iteration)
        if version is None:
            there = stored(family.layout, name, iteration) is not None
            return f"{name} was made elsewhere: Dagster has no record of it" if there else f"{name} {MISSING}"
        if newest_attempt(instance, key, iteration) is not None:
            return f"the newest attempt to make {name} failed"
        if _version_on_disk(family, name, iteration) != version:
            return f"the files of {name} are not those that were made"
        if found := stale(family.recipe, family.layout, name, iteration):
            return found.reason
    return unpassed(instance, family, ITERATION, iteration)


def _version_on_disk(family: Family, name: str, iteration: str) -> str | None:
    """The data version of what is there, taken again; None where it is missing or damaged."""
    try:
        if name == "judge":
            pointer = read_pointer(family.layout.judge(iteration), root=family.layout.root)
            return judge_version(pointer).value
        if name == "checkpoint":
            return judge_version(reference_current_checkpoint(family, iteration)).value
        table = read_table(family.layout.table(name, iteration))
    except UserError:
        return None
    return None if table is None else table_version(table)


RUN_TAG = "selftaught/run"
POLL_SECONDS = 0.5
PLAIN_LINE_SECONDS = 10.0
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The event log keeps everything; the terminal shows the display instead."""

HEADLINES = {
    "instruction_pool": ("rows_kept", "{:,} instructions"),
    "benchmarks": ("rows_kept", "{:,} pairs"),
    "instructions": ("rows_kept", "{:,} selected"),
    "pairs": ("valid_share", "{:.1%} valid"),
    "seed_model": ("judge_digest", "{:.12}"),
    "judge": ("judge_digest", "{:.12}"),
    "judgments": ("correct_share", "{:.1%} right"),
    "filtered_set": ("rows_kept", "{:,} examples"),
    "checkpoint": ("train_loss", "loss {:.3f}"),
    "evaluation": ("accuracy", "{:.1%} accuracy"),
    "seed_evaluation": ("accuracy", "{:.1%} accuracy"),
    "report": ("judgments", "{:,} judgments"),
}
"""The number of each asset that its line in the terminal shows."""


_SHOWN_EVENTS = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
}


def run_recipe(reference: str, recipe: Recipe, iterations: int, console: Console) -> None:
    """Materializes everything up to an iteration, in order, on the instance at DAGSTER_HOME.

    An iteration that is finished, and made of what is there now, is left as it is (commands/running.py).
    If the new checkpoint may not judge, the loop ends before the next iteration, with the learning curve up to there.

    Args:
        reference: the recipe's name or path, for the processes that execute the steps.
        recipe: the recipe itself.
        iterations: how many.
        console: where to show it.

    Raises:
        UserError: a step failed; the sentence is the step's own. Or a checkpoint was refused; a loop that ends because
        it no longer improves only says so. Or somebody else is at work in the data folder, or it belongs to another
        recipe.
        Stopped: a signal came, and the steps have ended.
    """
    family = Family(recipe, Layout.of(recipe))
    keys = [iteration_key(number) for number in range(1, iterations + 1)]
    with whole_folder(family.layout, "`selftaught run`"), opened_instance() as instance:
        claim(recipe, family.layout)
        for run in fail_dead_runs(instance):
            console.print(f"Run {run} is marked as failed: its process had died.", highlight=False)
        _run_job(instance, reference, recipe, "prepare", None, console)
        for key in keys:
            if stopped := what_stops(family, key):
                break
            why = why_to_run(instance, family, key)
            if why is None:
                console.print(f"[bold]{key}[/]\n  [green]✓[/] up to date", highlight=False)
                continue
            console.print(f"[bold]{key}[/]" + ("" if why.endswith(MISSING) else f"  since {why}"), highlight=False)
            _run_job(instance, reference, recipe, "iteration", key, console)
        _run_job(instance, reference, recipe, "progress", None, console)
    if stopped:
        sentence = why_not(family, previous_iteration(key), stopped)
        if stopped.outcome == Outcome.REFUSED:
            raise UserError(sentence)
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _run_job(
    instance: dg.DagsterInstance, reference: str, recipe: Recipe, name: str, partition: str | None, console: Console
) -> None:
    job = dg.build_reconstructable_job(
        "selftaught_assets.definitions", "resolve_job", reconstructable_args=(reference, name)
    )
    tags = {RUN_TAG: uuid.uuid4().hex}
    if partition is not None:
        tags["dagster/partition"] = partition
    if partition is None:
        console.print(f"[bold]{name}[/]", highlight=False)
    layout = Layout.of(recipe)
    layout.progress.unlink(missing_ok=True)
    try:
        with _shown(instance, tags, layout.progress, console), _standard_error_in(layout.log):
            result = dg.execute_job(job, instance, run_config=QUIET, tags=tags)
    except dg.DagsterExecutionInterruptedError:
        raise_if_stopped()
        raise
    if not result.success:
        raise_if_stopped()  # A step that a signal ends may take it for an error of its own.
        raise UserError(why_it_failed(instance, result.run_id))


@contextmanager
def _standard_error_in(path: Path) -> Iterator[None]:
    """Sends what this process and its steps write to standard error into a file, so that the display stays whole."""
    with writing_into(path.parent):
        log = path.open("ab")
    sys.stderr.flush()
    terminal = os.dup(2)
    with log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def why_it_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """The sentence of the check or the step that failed first; the outer errors only say that it failed."""
    before = ""
    for event in _events(instance, run_id):
        if event.event_type == dg.DagsterEventType.ENGINE_EVENT:
            before = event.message or ""
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                return f"`{check.asset_key.path[-1]}` failed its check {check.check_name}: {check.description}"
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            return _reason(event, before)
    return f"Run {run_id} failed before its first step; its log in Dagster says why."


def _reason(event: dg.DagsterEvent, before: str = "") -> str:
    """Why a step failed; `before` is what Dagster said until then."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause:
        error = error.cause
    if error and error.cls_name == ChildProcessCrashException.__name__:
        return _crash(event.step_key, before)
    return f"{event.step_key} failed: {error.to_string() if error else 'no reason recorded'}"


def _crash(step: str, explained: str) -> str:
    """One sentence about a step whose process ended without a word, from Dagster's own sentences about it."""
    name = step.rpartition("__")[2]
    if f"signal {signal.SIGKILL.value} " in explained:
        return (
            f"The process of `{name}` was killed, most often because memory ran out. What was sampled is kept: free "
            "memory, or lower `max_rows` or `max_tokens` in the recipe, and run it again."
        )
    how = explained.partition(f"step {step} ")[2].partition(". ")[0].rstrip(".") or "ended without a word"
    return f"The process of `{name}` {how}. What was sampled is kept: run it again."


def _events(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    return [record.dagster_event for record in instance.all_logs(run_id) if record.dagster_event]


@contextmanager
def _shown(instance: dg.DagsterInstance, tags: dict[str, str], progress_file: Path, console: Console) -> Iterator[None]:
    """Shows the run with these tags, from a thread, while the block executes it."""
    ended = threading.Event()
    display = _Display(instance, tags, progress_file, console)
    thread = threading.Thread(target=display.follow, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Display:
    """A finished line for every asset and check; below, the stage that works now, as a bar or as plain lines."""

    def __init__(
        self, instance: dg.DagsterInstance, tags: dict[str, str], progress_file: Path, console: Console
    ) -> None:
        self._instance = instance
        self._tags = tags
        self._progress_file = progress_file
        self._console = console
        self._cursor: str | None = None
        self._last_plain_line = time.monotonic()
        self._last_progress: StageProgress | None = None
        self._unreadable: str | None = None
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=None, detail="")

    def follow(self, ended: threading.Event) -> None:
        with self._bar:
            while not ended.wait(POLL_SECONDS):
                self._show_events()
                self._show_progress()
            self._show_events()

    def _show_events(self) -> None:
        with suppress(DBAPIError):  # If it is more than busy, the run itself fails and says so.
            self._show_news()

    def _show_news(self) -> None:
        runs = self._instance.get_runs(dg.RunsFilter(tags={RUN_TAG: self._tags[RUN_TAG]}), limit=1)
        if not runs:
            return
        news = self._instance.get_records_for_run(runs[0].run_id, self._cursor, _SHOWN_EVENTS)
        for record in news.records:
            event = record.event_log_entry.dagster_event
            if event.event_type == dg.DagsterEventType.STEP_START:
                self._bar.update(self._task, description=str(event.step_key), total=None, completed=0, detail="")
            elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
                self._print_materialization(event.step_materialization_data.materialization)
            elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._print_check(event.asset_check_evaluation_data)
            elif event.event_type == dg.DagsterEventType.STEP_FAILURE:  # The other steps may take hours.
                step, reason = str(event.step_key).rpartition("__")[2], _reason(event).partition("\n")[0]
                if dg.DagsterExecutionInterruptedError.__name__ not in reason:  # A signal has its own sentence.
                    self._console.print(f"  [red]✗[/] {step}: {escape(reason)}", highlight=False, soft_wrap=True)
        self._cursor = news.cursor

    def _print_materialization(self, made: dg.AssetMaterialization) -> None:
        name = made.asset_key.path[-1]
        if made.partition != self._tags.get("dagster/partition"):
            self._console.print(f"  [green]→[/] {name} of {made.partition} is the new checkpoint", highlight=False)
            return
        key, template = HEADLINES.get(name, ("rows_kept", "{:,} rows"))
        numbers = {entry: value.value for entry, value in made.metadata.items()}
        headline = template.format(numbers[key]) if key in numbers else ""
        seconds = f"{numbers['seconds']:.1f} s" if "seconds" in numbers else ""
        rate = f"{numbers['tokens_per_second']:,.0f} tokens/s" if numbers.get("tokens_per_second") else ""
        self._console.print(f"  [green]✓[/] {name:<17} {headline:<22} {seconds:>9}  {rate}".rstrip(), highlight=False)

    def _print_check(self, check: dg.AssetCheckEvaluation) -> None:
        if not check.passed:
            sentence = escape(check.description or "failed")
            mark = "[red]✗[/]" if check.severity == dg.AssetCheckSeverity.ERROR else "[yellow]![/]"
            self._console.print(f"  {mark} {check.asset_key.path[-1]} {check.check_name}: {sentence}", highlight=False)

    def _show_progress(self) -> None:
        try:
            progress = read_progress(self._progress_file)
        except UserError as error:
            progress = None
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                self._console.print(f"  [yellow]![/] {escape(self._unreadable)}", highlight=False, soft_wrap=True)
        if progress is None:
            return
        if self._console.is_terminal:
            self._bar.update(
                self._task,
                description=progress.stage,
                total=progress.total,
                completed=progress.done,
                detail=_detail(progress),
            )
        elif (
            progress.done < progress.total
            and progress != self._last_progress
            and time.monotonic() - self._last_plain_line >= PLAIN_LINE_SECONDS
        ):
            self._last_plain_line, self._last_progress = time.monotonic(), progress
            self._console.print(f"    {progress.sentence()}", highlight=False)


def _detail(progress: StageProgress) -> str:
    left = "" if progress.seconds_left is None else f"  {progress.seconds_left:.0f} s left"
    return f"{progress.done:,}/{progress.total:,}  {progress.rate:,.0f} {progress.rate_unit}/s{left}"
