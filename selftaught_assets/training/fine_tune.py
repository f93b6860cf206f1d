"""The training itself (paper section 4): load, tokenize, train, write a checkpoint. Runs inside the training process.

The weights of the last step are kept. The loss on the validation split is measured after every epoch and reported;
the paper picks among checkpoints by accuracy on held-out pairs.
"""

import logging
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selftaught_assets.engines.pretrained import load_base
from selftaught_assets.errors import UserError
from selftaught_assets.model_files import copy_tokenizer
from selftaught_assets.storage.checkpoints import Manifest, TrainingMetrics, checkpoint_writer
from selftaught_assets.storage.files import StageProgress, write_progress
from selftaught_assets.storage.models import adapter_digest, confirmed
from selftaught_assets.training.job import TrainingJob, package_versions
from selftaught_assets.training.trainer import TokenisedSet, build_trainer, tokenised_set, with_adapter

if TYPE_CHECKING:
    from peft import PeftModel
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


CURVE_POINTS = 50


def fine_tune(job: TrainingJob, log: logging.Logger) -> None:
    """Trains and leaves a finished checkpoint in `job.destination`.

    Raises:
        UserError: the model cannot be loaded or was replaced meanwhile, there is nothing to train on, or the disk or
            the device's memory is full.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    base, tokenizer = load_base(job.start.base, job.settings.dtype, "cuda" if on_gpu else "cpu")
    if not on_gpu:
        base.set_attn_implementation("eager")  # Exact for every model; checkpoints on processors were made with it.
    context = base.config.to_dict().get("max_position_embeddings", job.settings.max_tokens)
    examples = tokenised_set(tokenizer, job.examples, min(job.settings.max_tokens, context), job.date)
    model = with_adapter(base, job.start.adapter, job.settings, job.seed)
    confirmed(job.start, "materialize `checkpoint` again")
    log.info(
        f"Training {job.recipe} {job.iteration} on {len(examples.train):,} examples, {len(examples.validation):,} held "
        f"out, {examples.too_long:,} too long."
    )
    with checkpoint_writer(job.destination) as (folder, finish), tempfile.TemporaryDirectory() as scratch:
        trainer = build_trainer(model, tokenizer, examples, job.settings, job.seed, Path(scratch))
        trainer.add_callback(reporting_callback(job, log))
        started = time.monotonic()
        try:
            trainer.train()
            seconds = time.monotonic() - started
        except torch.OutOfMemoryError:
            raise UserError(
                f"The device ran out of memory while training {job.recipe} {job.iteration}: set a smaller "
                "training.max_tokens, or training.dtype: bfloat16."
            ) from None
        metrics = _metrics(trainer.state.log_history, trainer.state.global_step, examples, job, seconds)
        _write_adapter(model, job.start.base, folder)
        finish(_manifest(job, folder, metrics))


def _metrics(
    history: list[dict[str, float]], steps: int, examples: TokenisedSet, job: TrainingJob, seconds: float
) -> TrainingMetrics:
    losses = [float(entry["loss"]) for entry in history if "loss" in entry]
    last_epoch = losses[-math.ceil(len(examples.train) / job.settings.batch_size) :]
    validation = [float(entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    return TrainingMetrics(
        train_loss=sum(last_epoch) / len(last_epoch),
        train_loss_curve=loss_curve(losses),
        validation_loss=validation[-1] if validation else None,
        validation_losses=validation,
        steps=steps,
        examples=len(examples.train),
        validation_examples=len(examples.validation),
        too_long=examples.too_long,
        tokens=round(job.settings.epochs * sum(len(row["input_ids"]) for row in examples.train)),
        seconds=round(seconds, 2),
    )


def loss_curve(losses: Sequence[float]) -> list[tuple[int, float]]:
    """The loss of each step, drawn with at most `CURVE_POINTS` points: (last step, mean) of equally many steps each."""
    width = math.ceil(len(losses) / CURVE_POINTS)
    parts = [losses[first : first + width] for first in range(0, len(losses), width or 1)]
    return [(min((index + 1) * width, len(losses)), sum(part) / len(part)) for index, part in enumerate(parts)]


def _write_adapter(model: "PeftModel", base: Path, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder, save_embedding_layers=False)
    except SafetensorError as error:
        raise UserError(f"Could not write into {folder.parent}: {error}; free some space and run it again.") from None
    (folder / "README.md").unlink()  # PEFT's model card, which names this machine's paths
    copy_tokenizer(base, folder)


def _manifest(job: TrainingJob, folder: Path, metrics: TrainingMetrics) -> Manifest:
    return Manifest(
        recipe=job.recipe,
        training_key=job.training_key,
        base_digest=job.base_digest,
        start_digest=job.start.digest,
        training_set_digest=job.training_set_digest,
        digest=adapter_digest(folder, job.base_digest),
        training=job.settings.model_dump(mode="json"),
        seed=job.seed,
        metrics=metrics,
        versions=package_versions(),
    )
