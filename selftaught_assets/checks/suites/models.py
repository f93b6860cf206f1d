"""The suites of `judge` and `checkpoint`: is it the right model, and did training work?

Neither is a table: their rows are read from the pointer of the judge, and from the folder of the current checkpoint.
How good a model is, the suites of `evaluation` ask.
"""

from functools import partial
from pathlib import Path

import polars as pl

from selftaught_assets.checks.rules import (
    Estimate,
    RowRule,
    Subject,
    Suite,
    between,
    count,
    equal,
    estimated,
    exactly,
    holds,
    only,
)
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.method.training_set import training_set_digest
from selftaught_assets.model_files import ADAPTER_WEIGHTS
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.checkpoints import Manifest, find_current_checkpoint, read_manifest
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, adapter_digest, read_pointer, reference_model
from selftaught_assets.storage.stored import stale
from selftaught_assets.storage.tables import read_table

_SCHEMA = {
    "iteration": pl.String,
    "digest": pl.String,
    "model": pl.String,
    "problem": pl.String,
    "digest_now": pl.String,
    "is_predecessor": pl.Boolean,
    "is_current": pl.Boolean,
}


def judge_suites(recipe: Recipe) -> list[Suite]:
    return [is_predecessor(recipe)]


def is_predecessor(recipe: Recipe) -> Suite:
    """The judge is the checkpoint of the iteration before, or the model that judges first."""
    of = "judges"
    return Suite(
        asset="judge",
        name="is_predecessor",
        purpose="Judgments by any other judge would teach what was taught before, or nothing.",
        rows=partial(_judge, recipe),
        shown=("iteration", "digest", "model", "problem"),
        is_table=False,
        rules=(
            RowRule(
                "cannot_be_loaded",
                of,
                "name weights that cannot be loaded or have changed",
                (equal("digest", "digest_now", both_null=False),),
            ),
            holds("not_predecessor", of, "are not a checkpoint of the iteration before", "is_predecessor"),
            holds("outdated", of, "are not the model that would judge now", "is_current", severity="warning"),
        ),
    )


def _judge(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    layout, iteration = subject.layout, subject.iteration
    row = dict.fromkeys(_SCHEMA) | {
        "iteration": iteration,
        "is_predecessor": False,
        "is_current": False,
    }
    try:
        judge = read_pointer(layout.judge(iteration), root=layout.root)
        row |= {"digest": judge.digest, "model": str(judge.adapter or judge.base)}
        possible = _predecessors(recipe, layout, iteration)
        row |= {"is_predecessor": judge.digest in possible}
        outdated = stale(recipe, layout, "judge", iteration)
        row |= {"is_current": outdated is None, "problem": outdated and outdated.reason}
        row["digest_now"] = _digest_now(judge)
    except UserError as error:
        row["problem"] = str(error)
    return pl.DataFrame([row], schema=_SCHEMA)


def _predecessors(recipe: Recipe, layout: Layout, iteration: str) -> list[str]:
    """The digests of the models that may judge an iteration."""
    previous = previous_iteration(iteration)
    if previous is None:
        return [reference_model(recipe.judgments.first_annotator or recipe.seed_model).digest]
    folders = layout.checkpoints(previous).glob("*")
    return [manifest.digest for folder in folders if (manifest := read_manifest(folder)) is not None]


def _digest_now(judge: ModelReference) -> str:
    """The digest of the files as they are; of an adapter without hashing its base, which its manifest names."""
    if judge.adapter is None:
        return reference_model(judge.base).digest
    manifest = read_manifest(judge.adapter)
    if manifest is None:
        raise UserError(f"There is no finished checkpoint in {judge.adapter}: materialize `checkpoint` again.")
    return adapter_digest(judge.adapter, manifest.base_digest)


CURVE_PART = 4
"""The first and the last such part of the curve are compared: 4 is a quarter."""


def checkpoint_suites(recipe: Recipe) -> list[Suite]:
    return [loss(recipe), weights(recipe), digest(recipe)]


def loss(recipe: Recipe) -> Suite:
    """Training learned something and did not just memorize."""
    return Suite(
        asset="checkpoint",
        name="loss",
        purpose="A loss that does not fall means nothing was learned; a rising validation loss means memorizing.",
        rows=_curve,
        shown=("checkpoint", "measured", "step", "loss"),
        is_table=False,
        rules=(
            holds("not_finite", "measured losses", "are infinite or no number", "finite"),
            estimated(
                "loss_ratio",
                "points of the training curve",
                "the mean of the last quarter divided by that of the first",
                _loss_ratio,
                high=1.0,
                where=only(measured="training"),
            ),
            estimated(
                "validation_rise",
                "validation losses",
                "the last one divided by the lowest, minus one,",
                _validation_rise,
                high=recipe.checks.max_validation_rise,
                where=only(measured="validation"),
            ),
        ),
    )


def weights(recipe: Recipe) -> Suite:
    """The adapter is made of numbers, and does something."""
    of = "tensors of the adapter"
    return Suite(
        asset="checkpoint",
        name="weights",
        purpose="An adapter of zeros is the seed model again; one that is not finite cannot answer.",
        rows=_tensors,
        shown=("checkpoint", "tensor", "numbers", "not_finite", "largest"),
        is_table=False,
        rules=(
            RowRule("tensors_not_finite", of, "contain infinities or NaN", (between("not_finite", None, 0),)),
            count(
                "tensors_with_effect",
                "`lora_B` tensors that are not all zero",
                "the number of `lora_B` tensors that are not all zero",
                low=1,
                where=only(has_effect=True),
            ),
            RowRule(
                "tensors_without_effect",
                of,
                "are all zero, as they were before training",
                (between("largest", 0, None, strict_min=True),),
                severity="warning",
            ),
        ),
    )


def digest(recipe: Recipe) -> Suite:
    """The files are the ones that were trained, on the examples that lie there."""
    of = "checkpoints"
    return Suite(
        asset="checkpoint",
        name="digest",
        purpose="A judge is identified by content: its weights and examples must be those in the manifest.",
        rows=_manifest,
        shown=("checkpoint", "digest", "digest_now", "training_set_digest", "training_set_now", "problem"),
        is_table=False,
        rules=(
            holds("checkpoint_missing", of, "are absent or unfinished", "present"),
            RowRule(
                "digest_differs",
                of,
                "have weights that differ from their manifest",
                (equal("digest", "digest_now", both_null=False),),
            ),
            RowRule(
                "training_set_differs",
                of,
                "were trained on a filtered set that has changed since",
                (equal("training_set_digest", "training_set_now", both_null=False),),
            ),
        ),
    )


def _current(layout: Layout, iteration: str) -> tuple[Path, Manifest] | None:
    folder = find_current_checkpoint(layout.checkpoints(iteration))
    manifest = None if folder is None else read_manifest(folder)
    return None if folder is None or manifest is None else (folder, manifest)


def _curve(subject: Subject) -> pl.DataFrame:
    current = _current(subject.layout, subject.iteration)
    points: list[tuple[str, str, int, float]] = []
    if current is not None:
        folder, manifest = current
        metrics = manifest.metrics
        points += [(folder.name, "training", step, value) for step, value in metrics.train_loss_curve]
        points += [
            (folder.name, "validation", epoch, value) for epoch, value in enumerate(metrics.validation_losses, 1)
        ]
    schema = {"checkpoint": pl.String, "measured": pl.String, "step": pl.Int64, "loss": pl.Float64}
    return pl.DataFrame(points, schema=schema, orient="row").with_columns(finite=pl.col("loss").is_finite())


def _loss_ratio(rows: pl.DataFrame) -> Estimate | None:
    """With the interval of a ratio of two means (delta method), since the losses of single steps scatter."""
    part = rows.height // CURVE_PART
    if part < 2:
        return None
    first, last = rows["loss"].head(part), rows["loss"].tail(part)
    ratio = last.mean() / first.mean()
    spread = sum((losses.std() / losses.mean()) ** 2 / part for losses in (first, last)) ** 0.5
    return Estimate(ratio, ratio * (1 - 1.96 * spread), ratio * (1 + 1.96 * spread), rows.height)


def _validation_rise(rows: pl.DataFrame) -> Estimate | None:
    if rows.is_empty():
        return None
    return exactly(rows["loss"].tail(1).item() / rows["loss"].min() - 1, rows.height)


def _tensors(subject: Subject) -> pl.DataFrame:
    import numpy as np
    from safetensors import safe_open

    current, rows = _current(subject.layout, subject.iteration), []
    if current is not None:
        folder, _ = current
        with safe_open(folder / ADAPTER_WEIGHTS, framework="numpy") as file:
            for name in sorted(file.keys()):
                values = file.get_tensor(name)
                finite = np.isfinite(values)
                largest = float(np.abs(values[finite]).max(initial=0.0))
                rows.append((folder.name, name, values.size, int((~finite).sum()), largest))
    schema = {
        "checkpoint": pl.String,
        "tensor": pl.String,
        "numbers": pl.Int64,
        "not_finite": pl.Int64,
        "largest": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        has_effect=(pl.col("largest") > 0) & pl.col("tensor").str.contains("lora_B")
    )


def _manifest(subject: Subject) -> pl.DataFrame:
    schema = {
        **dict.fromkeys(("checkpoint", "digest", "digest_now"), pl.String),
        **dict.fromkeys(("training_set_digest", "training_set_now", "problem"), pl.String),
        "present": pl.Boolean,
    }
    current = _current(subject.layout, subject.iteration)
    row = dict.fromkeys(schema) | {"checkpoint": subject.iteration, "present": current is not None}
    if current is not None:
        folder, manifest = current
        examples = read_table(subject.layout.table("filtered_set", subject.iteration))
        row |= {"checkpoint": folder.name, "digest": manifest.digest}
        row |= {"training_set_digest": manifest.training_set_digest}
        row |= {"training_set_now": None if examples is None else training_set_digest(examples)}
        try:
            row["digest_now"] = adapter_digest(folder, manifest.base_digest)
        except UserError as error:
            row["problem"] = str(error)
    return pl.DataFrame([row], schema=schema)
