"""A short training before anything is sampled, so that what cannot be trained is known before an iteration is paid for.

Belongs here: two examples, one step, and the memory of what passed. Not here: training (fine_tune.py).
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from datetime import date as Date
from pathlib import Path

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.method.examples import MESSAGES
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.stages import Training
from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.models import ModelReference
from selftaught_assets.training.job import SOURCE, TrainingJob, package_versions

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
    log.info(f"Before anything is sampled, {base.base} is trained on two examples (`try_training` in the recipe).")
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
    pl.DataFrame(rows, schema=schema).write_parquet(path)
    return path
