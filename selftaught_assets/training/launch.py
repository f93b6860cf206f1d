"""Training as an asset sees it: a trial before anything is sampled, the process, and its checkpoint.

The trial comes before sampling, so that what cannot be trained is known before an iteration is paid for. The training
itself is never imported here: its memory goes back when its process ends.
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date as Date
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl
from dagster._core.errors import DagsterPipesExecutionError

from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import digest
from selftaught_assets.method.training_set import MESSAGES, training_set_digest
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.recipe.stages import Training
from selftaught_assets.storage.checkpoints import Manifest, base_of, find_checkpoint, reference_checkpoint
from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.models import ModelReference
from selftaught_assets.storage.tables import write_table
from selftaught_assets.training.job import SOURCE, TrainingJob, package_versions, training_key


class Trained(NamedTuple):
    """A finished checkpoint."""

    model: ModelReference
    """The judge: the start's base with the new adapter, `model.adapter` is the checkpoint folder."""
    manifest: Manifest
    reused: bool
    """Nothing was trained: a checkpoint of the same start, examples, settings and seed was there."""


def train_checkpoint(
    context: dg.AssetExecutionContext,
    *,
    recipe: str,
    iteration: str,
    start: ModelReference,
    examples: Path,
    settings: Training,
    seed: int,
    date: Date = TEMPLATE_DATE,
    checkpoints: Path,
    progress: Path,
) -> Trained:
    """Fine-tunes `start` on the kept rows of a filtered set, in a process of its own (paper section 4).

    The process logs loss and progress to Dagster as it goes. Its checkpoint is complete or absent, in a folder named
    after all that determines it; where that folder exists already, it is the answer.

    Args:
        context: of the asset.
        recipe: name of the recipe, for the manifest.
        iteration: partition key, for the progress.
        start: the base model (restart), or a judge whose adapter is trained on (continue).
        examples: Parquet file with the columns messages, completion, split (train or validation) and drop_reason.
        settings: the recipe's training section.
        seed: of the adapter's first weights and of the order of examples.
        date: what a chat template that asks for the date is told.
        checkpoints: folder of this iteration's checkpoints.
        progress: file that `read_progress` reads.

    Raises:
        UserError: there is nothing to train on, the model cannot be loaded, the disk or the memory is full.
    """
    examples_digest = training_set_digest(pl.read_parquet(examples, glob=False))
    key = training_key(start, examples_digest, settings, seed, date)
    destination = checkpoints.resolve() / key[:16]
    base = base_of(start)
    found = find_checkpoint(destination)
    reused = found is not None and found.training_key == key
    if reused:
        context.log.info(
            f"{destination} was trained from the same start, with the same examples and settings: it is reused."
        )
    else:
        with tempfile.TemporaryDirectory(prefix="selftaught_training_") as scratch:
            job = TrainingJob(
                recipe=recipe,
                iteration=iteration,
                start=replace(start, base=start.base.resolve(), adapter=start.adapter and start.adapter.resolve()),
                base_digest=base.digest,
                examples=examples.resolve(),
                training_set_digest=examples_digest,
                settings=settings,
                seed=seed,
                date=date,
                destination=destination,
                progress=progress.resolve(),
                failure=Path(scratch) / "failure.txt",
                parent=os.getpid(),
            )
            _run(context, job)
    model = reference_checkpoint(destination, base)
    return Trained(model=model, manifest=find_checkpoint(destination), reused=reused)


def training_metadata(manifest: Manifest) -> dict[str, int | float | dg.MetadataValue]:
    """The numbers of a training, one name each, for the UI to plot over the iterations."""
    metrics = manifest.metrics
    numbers: dict[str, int | float | dg.MetadataValue] = {
        "train_loss": metrics.train_loss,
        "training_steps": metrics.steps,
        "training_examples": metrics.examples,
        "training_tokens": metrics.tokens,
        "training_seconds": metrics.seconds,
        "too_long_examples": metrics.too_long,
        "loss_curve": dg.MetadataValue.table(
            [dg.TableRecord({"step": step, "train_loss": loss}) for step, loss in metrics.train_loss_curve],
            dg.TableSchema([dg.TableColumn("step", "int"), dg.TableColumn("train_loss", "float")]),
        ),
        "judge_digest": dg.MetadataValue.text(manifest.digest),
        "start_digest": dg.MetadataValue.text(manifest.start_digest),
    }
    if metrics.validation_loss is not None:
        numbers["validation_loss"] = metrics.validation_loss
    return numbers


def _run(context: dg.AssetExecutionContext, job: TrainingJob) -> None:
    command = [sys.executable, "-m", "selftaught_assets.training", job.model_dump_json()]
    try:
        dg.PipesSubprocessClient().run(context=context, command=command, cwd=str(SOURCE))
    except DagsterPipesExecutionError as error:
        code = re.search(r"code (-?[0-9]+)$", str(error))
        raise UserError(job.why_it_failed(int(code.group(1)) if code else 1)) from None


_COMPLETIONS = ("The first one answers what was asked. [[A]]", "The second one does. [[B]]")


def require_trainable(
    base: ModelReference, settings: Training, *, seed: int, date: Date, passed: Path, log: logging.Logger
) -> None:
    """Trains the model on two examples, in a process of its own, unless this model has passed with these settings.

    Args:
        base: the seed model.
        settings: the recipe's training section.
        seed: of the recipe.
        date: what a chat template that asks for the date is told.
        passed: folder that remembers what passed, by content.
        log: is told before the model is loaded.

    Raises:
        UserError: it cannot be trained; the sentence is the training's own.
    """
    considered = {"model": base.digest, "training": settings.model_dump(mode="json"), "versions": package_versions()}
    record = passed / f"{digest('trial', considered)[:16]}.json"
    if record.is_file():
        return
    log.info(
        f"Before anything is sampled, {base.base} is trained on two examples as a trial (`try_training` in the recipe)."
    )
    with tempfile.TemporaryDirectory(prefix="selftaught_trial_") as scratch:
        job = TrainingJob(
            recipe="trial",
            iteration="trial",
            start=ModelReference(base=base.base.resolve(), adapter=None, digest=base.digest),
            base_digest=base.digest,
            examples=_examples(Path(scratch) / "two_examples.parquet"),
            training_set_digest="",
            settings=settings.model_copy(update={"epochs": 1.0, "batch_size": len(_COMPLETIONS)}),
            seed=seed,
            date=date,
            destination=Path(scratch) / "checkpoint",
            progress=Path(scratch) / "progress.json",
            failure=Path(scratch) / "failure.txt",
            parent=os.getpid(),
        )
        command = [sys.executable, "-m", "selftaught_assets.training", job.model_dump_json()]
        code = subprocess.run(command, cwd=SOURCE, stdout=subprocess.DEVNULL).returncode
        if code:
            raise UserError(f"{base.base} cannot be trained, so nothing is sampled: {job.why_it_failed(code)}")
    with written_aside(record) as path:
        path.write_text(json.dumps(considered, indent=2) + "\n", encoding="utf-8")


def _examples(path: Path) -> Path:
    messages = [{"role": "user", "content": "Which response is better?"}]
    rows = {
        "messages": [messages] * len(_COMPLETIONS),
        "completion": _COMPLETIONS,
        "split": ["train"] * len(_COMPLETIONS),
        "drop_reason": [None] * len(_COMPLETIONS),
    }
    schema = {"messages": MESSAGES, "completion": pl.String, "split": pl.String, "drop_reason": pl.String}
    write_table(path, pl.DataFrame(rows, schema=schema))
    return path
