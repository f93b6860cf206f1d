"""What training tells while it runs: progress for the command line, loss and progress for Dagster.

Belongs here: the trainer's callback. Not here: the trainer, and the numbers of a finished training.
"""

import logging
import os
import time
from typing import TYPE_CHECKING

from selftaught_assets.storage.progress import StageProgress, write_progress
from selftaught_assets.training.job import TrainingJob

if TYPE_CHECKING:
    from transformers import TrainerCallback

PROGRESS_SECONDS = 0.5
LOG_SECONDS = 10.0
STAGE = "checkpoint"


def reporting_callback(job: TrainingJob, log: logging.Logger) -> "TrainerCallback":
    """A callback that writes the progress file, logs a line now and then, and ends training with its launcher.

    A killed run leaves its training process without a parent; going on would slow down the run that replaces it.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Reporter(TrainerCallback):
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self._started = self._logged = time.monotonic()
            self._written = 0.0
            self._loss = ""

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float],
            **_: object,
        ) -> None:
            if "loss" in logs:
                self._loss = f", loss {float(logs['loss']):.4f}"
            if "eval_loss" in logs:
                log.info(f"Epoch {float(logs['epoch']):.3g}: validation loss {float(logs['eval_loss']):.4f}")

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if os.getppid() != job.parent:
                raise SystemExit(f"The process {job.parent} that started this training is gone.")
            now = time.monotonic()
            step_seconds = (now - self._started) / state.global_step
            last = state.global_step == state.max_steps
            progress = StageProgress(
                stage=STAGE,
                iteration=job.iteration,
                done=state.global_step,
                total=state.max_steps,
                rate=job.settings.batch_size / step_seconds,
                rate_unit="examples",
                seconds_left=step_seconds * (state.max_steps - state.global_step),
            )
            if last or now - self._written >= PROGRESS_SECONDS:
                self._written = now
                write_progress(job.progress, progress)
            if last or now - self._logged >= LOG_SECONDS:
                self._logged = now
                log.info(progress.sentence() + self._loss)

    return Reporter()
