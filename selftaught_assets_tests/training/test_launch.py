import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date as Date
from pathlib import Path

import dagster as dg
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage.checkpoints import find_checkpoint
from selftaught_assets.storage.files import read_progress
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.training.fine_tune import fine_tune
from selftaught_assets.training.job import TrainingJob, training_key
from selftaught_assets.training.launch import Trained, train_checkpoint, training_metadata
from selftaught_assets_tests.training import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent


class Training:
    """The launcher inside a real asset of a real instance; `results` holds what it returned, run by run."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path, base: ModelReference, examples: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.base = base
        self.examples = examples
        self.results: list[Trained] = []

    def run(self) -> dg.ExecuteInProcessResult:
        @dg.asset
        def checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            trained = train_checkpoint(
                context,
                recipe="tiny",
                iteration="iteration_01",
                start=self.base,
                examples=self.examples,
                settings=tiny.SETTINGS,
                seed=3,
                checkpoints=self.folder / "checkpoints",
                progress=self.folder / "stage.json",
            )
            self.results.append(trained)
            return dg.MaterializeResult(metadata=training_metadata(trained.manifest))

        return dg.materialize([checkpoint], instance=self.instance, raise_on_error=False)

    def messages(self, run: dg.ExecuteInProcessResult) -> list[str]:
        return [entry.user_message for entry in self.instance.all_logs(run.run_id)]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def training(
    tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance, base: ModelReference, examples: Path
) -> Training:
    return Training(instance, tmp_path_factory.mktemp("data"), base, examples)


@pytest.fixture(scope="module")
def first_run(training: Training) -> dg.ExecuteInProcessResult:
    return training.run()


def test_a_run_trains_in_another_process_and_logs_progress_and_losses_to_dagster(
    training: Training, first_run: dg.ExecuteInProcessResult
) -> None:
    assert first_run.success
    messages = training.messages(first_run)
    assert any(m.startswith("Training tiny iteration_01 on 40 examples, 8 held out") for m in messages)
    assert any(m.startswith("checkpoint iteration_01: 10 of 10") and ", loss " in m for m in messages)
    assert any(m.startswith("Epoch 2: validation loss ") for m in messages)
    assert read_progress(training.folder / "stage.json").done == 10


def test_the_numbers_of_a_training_are_metadata_that_the_ui_plots(
    training: Training, first_run: dg.ExecuteInProcessResult
) -> None:
    (materialization,) = first_run.asset_materializations_for_node("checkpoint")
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    metrics = training.results[0].manifest.metrics
    assert metadata["train_loss"] == metrics.train_loss
    assert metadata["validation_loss"] == metrics.validation_loss
    assert metadata["training_steps"] == 10 and metadata["training_seconds"] > 0
    assert len(metadata["loss_curve"].records) == 10


def test_the_same_training_again_uses_the_checkpoint_that_is_there(
    training: Training, first_run: dg.ExecuteInProcessResult
) -> None:
    first = training.results[0]
    weights = first.model.adapter / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    run = training.run()
    again = training.results[-1]
    assert run.success and again.reused and not first.reused
    assert again.model == first.model
    assert weights.stat().st_mtime_ns == written
    assert any("it is reused" in message for message in training.messages(run))


def test_a_users_mistake_in_the_process_comes_back_as_its_one_sentence(
    tmp_path: Path, instance: dg.DagsterInstance, base: ModelReference
) -> None:
    examples = tiny.write_examples(tmp_path / "set.parquet", [tiny.example("a", "b", split="validation")])
    run = Training(instance, tmp_path, base, examples).run()
    (failure,) = run.filter_events(lambda event: event.is_step_failure)
    cause = failure.step_failure_data.error.cause
    assert cause.cls_name == UserError.__name__
    assert f"{examples} has nothing to train on" in cause.message
    assert list((tmp_path / "checkpoints").glob("*")) == []


def test_any_other_error_in_the_process_comes_back_with_its_last_line(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    base: ModelReference,
    examples: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "trl").mkdir()
    (tmp_path / "trl" / "__init__.py").write_text('raise RuntimeError("half of it\\nis missing")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    run = Training(instance, tmp_path, base, examples).run()
    (failure,) = run.filter_events(lambda event: event.is_step_failure)
    sentence = failure.step_failure_data.error.cause.message
    assert "The training of tiny iteration_01 failed: RuntimeError: half of it is missing" in sentence


def test_a_killed_training_leaves_no_checkpoint_and_the_next_one_removes_its_remains(
    make_job: Callable[..., TrainingJob],
) -> None:
    endless = make_job(settings=tiny.SETTINGS.model_copy(update={"epochs": 10_000.0}), parent=os.getpid())
    command = [sys.executable, "-m", "selftaught_assets.training", endless.model_dump_json()]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 900
        while (progress := read_progress(endless.progress)) is None or progress.done < 5:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (remains,) = endless.destination.parent.iterdir()
    assert remains.name.endswith(".partial")
    assert find_checkpoint(endless.destination) is None
    job = make_job()
    fine_tune(job, logging.getLogger(__name__))
    assert [folder.name for folder in job.destination.parent.iterdir()] == [job.destination.name]
    assert find_checkpoint(job.destination) is not None


def test_a_process_that_had_no_room_for_its_reason_is_told_in_a_sentence(
    make_job: Callable[..., TrainingJob],
) -> None:
    job = make_job()
    job.failure.write_text("")
    assert job.why_it_failed(1) == "The training of tiny iteration_01 ended with exit code 1; see the log of the step."


def test_a_process_killed_for_memory_is_told_in_a_sentence(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    base: ModelReference,
    examples: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = tmp_path / "python"  # A process that dies as the kernel's memory killer leaves it.
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))

    @dg.asset
    def checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with pytest.raises(UserError, match="was killed, most often because memory ran out"):
            train_checkpoint(
                context,
                recipe="tiny",
                iteration="iteration_01",
                start=base,
                examples=examples,
                settings=tiny.SETTINGS,
                seed=3,
                checkpoints=tmp_path / "checkpoints",
                progress=tmp_path / "stage.json",
            )
        return dg.MaterializeResult()

    assert dg.materialize([checkpoint], instance=instance).success


def test_the_training_key_changes_with_all_that_determines_the_weights(base: ModelReference, tmp_path: Path) -> None:
    other_start = reference_model(tiny.write_tiny_model(tmp_path / "other", seed=1))
    other_settings = tiny.SETTINGS.model_copy(update={"learning_rate": 2e-2})
    keys = {
        training_key(base, "a", tiny.SETTINGS, 3),
        training_key(other_start, "a", tiny.SETTINGS, 3),
        training_key(base, "b", tiny.SETTINGS, 3),
        training_key(base, "a", other_settings, 3),
        training_key(base, "a", tiny.SETTINGS, 4),
        training_key(base, "a", tiny.SETTINGS, 3, Date(2026, 1, 2)),
    }
    assert len(keys) == 6
