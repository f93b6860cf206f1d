"""Generation through the journal: nothing is sampled twice, nothing is lost, whatever happens in between."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date as Date
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.engines.journalled import GenerationTask, Progress, Tasks, completion_key, generate
from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.recipe.engines import TEMPLATE_DATE, SamplingParameters
from selftaught_assets.storage.journal import Journal, MemoryJournal

SAMPLING = SamplingParameters()
TASKS = [GenerationTask(f"task {i}", [{"role": "user", "content": f"question {i}"}], n=3, seed=i) for i in range(30)]


class Echo:
    """An engine whose completions say what they were asked. Finishes them out of order; fails after `fail_after`."""

    def __init__(self, model_digest: str = "model", fail_after: int | None = None, delay: float = 0.0) -> None:
        self.model_digest = self.identity = model_digest
        self.capacity = 8
        self.asked: list[tuple[str, int]] = []
        self._fail_after = fail_after
        self._delay = delay

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
        text = messages[-1]["content"]
        return Prompt(text, tuple(text.encode()))

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        samples = [(request, index) for request in requests for index in request.sample_indices]
        for request, index in reversed(samples):
            if len(self.asked) == self._fail_after:
                raise RuntimeError("out of memory")
            time.sleep(self._delay)
            self.asked.append((request.prompt.text, index))
            text = f"{self.model_digest}: {request.prompt.text}, {request.seed}, {index}"
            yield Completion(request.request_id, index, text, "stop", len(request.prompt.text), 5)

    def close(self) -> None:
        pass


def ignore(progress: Progress) -> None:
    pass


def test_the_frame_is_in_the_order_of_tasks_and_samples(tmp_path: Path) -> None:
    generated = generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    assert generated.frame.columns == [
        "request_id",
        "sample_index",
        "text",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "error",
    ]
    assert generated.frame["request_id"].to_list() == [task.request_id for task in TASKS for _ in range(3)]
    assert generated.frame["sample_index"].to_list() == [0, 1, 2] * 30
    assert generated.frame["text"].to_list() == [f"model: question {i}, {i}, {n}" for i in range(30) for n in range(3)]
    assert (generated.sampled.completions, generated.sampled.completion_tokens) == (90, 450)


def test_a_second_run_samples_nothing_and_gives_the_same_frame(tmp_path: Path) -> None:
    first = generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    engine = Echo()
    second = generate(engine, Journal(tmp_path), TASKS, SAMPLING, ignore)
    assert second.frame.equals(first.frame)
    assert (second.sampled.completions, engine.asked) == (0, [])


def test_more_samples_ask_only_for_the_new_ones(tmp_path: Path) -> None:
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    engine = Echo()
    generate(engine, Journal(tmp_path), [replace(task, n=5) for task in TASKS], SAMPLING, ignore)
    assert {index for _, index in engine.asked} == {3, 4}
    assert len(engine.asked) == 60


@pytest.mark.parametrize("change", ["model", "seed", "sampling", "content"])
def test_whatever_a_completion_depends_on_makes_it_another(change: str, tmp_path: Path) -> None:
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    engine = Echo("retrained" if change == "model" else "model")
    task = replace(TASKS[0], seed=99) if change == "seed" else TASKS[0]
    if change == "content":
        task = replace(task, messages=[{"role": "user", "content": "another question"}])
    sampling = SamplingParameters(temperature=0.1) if change == "sampling" else SAMPLING
    assert generate(engine, Journal(tmp_path), [task], sampling, ignore).sampled.completions == 3


def test_the_name_of_a_request_is_no_part_of_the_key(tmp_path: Path) -> None:
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    again = generate(Echo(), Journal(tmp_path), [replace(TASKS[4], request_id="renamed")], SAMPLING, ignore)
    assert again.sampled.completions == 0
    assert again.frame["request_id"].to_list() == ["renamed"] * 3


def test_tasks_with_equal_content_share_their_completions(tmp_path: Path) -> None:
    twins = [replace(TASKS[0], request_id="one", n=2), replace(TASKS[0], request_id="two", n=4)]
    generated = generate(Echo(), Journal(tmp_path), twins, SAMPLING, ignore)
    assert generated.sampled.completions == 4
    assert generated.frame["request_id"].to_list() == ["one"] * 2 + ["two"] * 4
    assert generated.frame["text"][:2].to_list() == generated.frame["text"][2:4].to_list()


def test_tasks_that_share_their_completions_are_counted_once_however_late_they_come(tmp_path: Path) -> None:
    reports: list[Progress] = []
    tasks = [replace(task, request_id=f"{task.request_id}, again") for task in TASKS]
    each = Tasks(180, (task for task in [*TASKS, *tasks]))
    generated = generate(Echo(), Journal(tmp_path), each, SAMPLING, reports.append)
    assert (generated.frame.height, generated.used.completions) == (180, 90)
    assert (reports[-1].done, reports[-1].total) == (90, 90)


class Lazy(Echo):
    """Works on one request at a time, and counts those that were rendered and not done."""

    rendered = done = ahead = 0

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
        self.rendered += 1
        self.ahead = max(self.ahead, self.rendered - self.done)
        return super().render(messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            yield from super().generate([request])
            self.done += 1


def test_a_prompt_is_rendered_once_and_only_when_its_turn_comes(tmp_path: Path) -> None:
    made = 0

    def each() -> Iterator[GenerationTask]:
        nonlocal made
        for task in TASKS:
            made += 1
            assert made == engine.rendered + 1
            yield task

    engine = Lazy()
    generated = generate(engine, Journal(tmp_path), Tasks(90, each()), SAMPLING, ignore)
    assert (engine.rendered, engine.ahead) == (30, 1)
    assert generated.frame.equals(generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore).frame)


class Tokens(tuple):
    """Counts how many prompts are in memory."""

    held = most = 0

    def __init__(self, _: Iterable[int]) -> None:
        Tokens.held += 1
        Tokens.most = max(Tokens.most, Tokens.held)

    def __del__(self) -> None:
        Tokens.held -= 1


@pytest.mark.parametrize("count", [20, 200])
def test_prompts_that_were_answered_are_not_kept(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answering(Echo):
        def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
            return Prompt("", Tokens(messages[0]["content"].encode()))

        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            for request in requests:
                for index in request.sample_indices:
                    yield Completion(request.request_id, index, "[[A]]", "stop", len(request.prompt.token_ids), 5)

    monkeypatch.setattr(Tokens, "most", 0)
    tasks = (replace(TASKS[0], messages=[{"role": "user", "content": str(number)}]) for number in range(count))
    assert generate(Answering(), Journal(tmp_path), Tasks(3 * count, tasks), SAMPLING, ignore).frame.height == 3 * count
    assert Tokens.most <= 3
    assert Tokens.held == 0


@pytest.mark.parametrize("known", [0, 7])
def test_an_engine_that_ends_before_it_has_taken_every_request_is_caught(known: int, tmp_path: Path) -> None:
    class Hasty(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            return super().generate([next(iter(requests))])

    generate(Echo(), Journal(tmp_path), TASKS[:known], SAMPLING, ignore)
    with pytest.raises(RuntimeError, match=f"left out {3 * (29 - known)} completions of 90"):
        generate(Hasty(), Journal(tmp_path), TASKS, SAMPLING, ignore)


def test_what_is_known_in_between_is_found_though_others_are_sampled_meanwhile(tmp_path: Path) -> None:
    generate(Echo(), Journal(tmp_path), TASKS[5:20:3], SAMPLING, ignore)
    generate(Echo(), Journal(tmp_path), [replace(TASKS[10], n=1)], SAMPLING, ignore)
    engine = Echo()
    resumed = generate(engine, Journal(tmp_path), TASKS, SAMPLING, ignore)
    assert (len(engine.asked), resumed.sampled.completions, resumed.used.completions) == (74, 74, 90)
    assert resumed.frame.equals(generate(Echo(), MemoryJournal(), TASKS, SAMPLING, ignore).frame)


def test_no_tasks_give_an_empty_frame(tmp_path: Path) -> None:
    frame = generate(Echo(), Journal(tmp_path), [], SAMPLING, ignore).frame
    assert frame.height == 0
    assert frame.schema["text"] == pl.String


def test_what_an_engine_gave_before_it_failed_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(Echo(fail_after=50), Journal(tmp_path), TASKS, SAMPLING, ignore)
    assert generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore).sampled.completions == 40


def test_an_engine_that_leaves_completions_out_is_caught(tmp_path: Path) -> None:
    class Forgetful(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            yield from list(super().generate(requests))[1:]

    with pytest.raises(RuntimeError, match="left out 1 completions of 90"):
        generate(Forgetful(), Journal(tmp_path), TASKS, SAMPLING, ignore)


def test_progress_counts_up_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journalled, "REPORT_SECONDS", 0.005)
    generate(Echo(), Journal(tmp_path), TASKS[:10], SAMPLING, ignore)
    reports: list[Progress] = []
    generate(Echo(delay=0.002), Journal(tmp_path), TASKS, SAMPLING, reports.append)
    assert len(reports) > 3
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert all(30 < report.done <= report.total == 90 for report in reports)
    assert reports[-1].done == 90
    assert reports[-1].seconds_left == 0
    assert 0 < reports[0].tokens_per_second < 5 / 0.002


def test_a_batch_that_ends_all_at_once_is_told_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journalled, "REPORT_SECONDS", 0.05)
    reports: list[Progress] = []

    class Batched(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            batch = list(super().generate(requests))
            time.sleep(0.1)
            yield from batch
            assert reports[-1].done >= 0.95 * 90

    generate(Batched(), Journal(tmp_path), TASKS, SAMPLING, reports.append)


def test_no_time_is_told_by_the_first_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journalled, "REPORT_SECONDS", 0.0)
    reports: list[Progress] = []
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, reports.append)
    assert [report.seconds_left is None for report in reports[:6]] == [True] * 4 + [False] * 2


def test_loading_the_model_is_not_sampling(tmp_path: Path) -> None:
    class Loading(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            time.sleep(0.5)
            return super().generate(requests)

    assert 0 < generate(Loading(), Journal(tmp_path), TASKS, SAMPLING, ignore).sampled.seconds < 0.4


def test_progress_is_told_once_when_all_is_known(tmp_path: Path) -> None:
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    reports: list[Progress] = []
    generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, reports.append)
    assert reports == [Progress(done=90, total=90, tokens_per_second=0.0, seconds_left=0.0)]


@pytest.mark.slow
def test_after_a_kill_only_what_is_missing_is_sampled_and_the_frame_is_that_of_an_undisturbed_run(
    tmp_path: Path, model_folder: Path
) -> None:
    undisturbed = _run(model_folder, tmp_path / "undisturbed")
    assert undisturbed.sampled.completions == 120

    journal = tmp_path / "killed"
    victim = subprocess.Popen([sys.executable, "-m", __name__, str(model_folder), str(journal)], env=dict(os.environ))
    try:
        deadline = time.monotonic() + 600
        while not list(journal.glob("*.parquet")):
            assert time.monotonic() < deadline
            assert victim.poll() is None, "the process ended before it was killed"
            time.sleep(0.01)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    kept = sum(pl.read_parquet(shard).height for shard in journal.glob("*.parquet"))
    assert 0 < kept < 120
    resumed = _run(model_folder, journal)
    assert resumed.sampled.completions == 120 - kept
    assert resumed.frame.equals(undisturbed.frame)


def _run(model_folder: Path, journal: Path) -> journalled.Generated:
    from selftaught_assets.engines.factory import open_engine
    from selftaught_assets.recipe.engines import TransformersSettings
    from selftaught_assets.storage.models import reference_model

    tasks = [replace(task, n=4) for task in TASKS]
    with open_engine(TransformersSettings(device="cpu", max_rows=8), reference_model(model_folder)) as engine:
        return generate(engine, Journal(journal), tasks, SamplingParameters(max_tokens=40), ignore)


if __name__ == "__main__":
    journalled.FLUSH_SECONDS = 0.0
    _run(Path(sys.argv[1]), Path(sys.argv[2]))


def test_the_version_of_sampling_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("", Prompt("a", (1,)), SamplingParameters(), 0, ())
    before = completion_key("identity", request)
    monkeypatch.setattr(journalled, "SAMPLING_CODE", 2)
    assert completion_key("identity", request) != before
