"""The suite of `judge`, the pointer to the model that judges: it is the one whose turn it is.

Belongs here: declarations about the pointer file, as one row. Not here: the hand-over (assets/handover.py), which asks
Dagster's event log; this asks the files.
"""

from functools import partial

import polars as pl

from selftaught_assets.checks.rules import Subject, Suite, holds
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.checkpoints import read_manifest
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, adapter_digest, read_pointer, reference_model
from selftaught_assets.storage.stored import stale

_SCHEMA = {
    "iteration": pl.String,
    "digest": pl.String,
    "model": pl.String,
    "problem": pl.String,
    "loads": pl.Boolean,
    "is_predecessor": pl.Boolean,
    "is_current": pl.Boolean,
}


def suites(recipe: Recipe) -> list[Suite]:
    return [is_predecessor(recipe)]


def is_predecessor(recipe: Recipe) -> Suite:
    """The judge is the checkpoint of the iteration before, or the model that judges first."""
    of = "judges"
    return Suite(
        asset="judge",
        name="is_predecessor",
        purpose="Judgments of another judge than the current one would teach what was taught before, or nothing.",
        rows=partial(_judge, recipe),
        shown=("iteration", "digest", "model", "problem"),
        is_table=False,
        rules=(
            holds("cannot_be_loaded", of, "name weights that cannot be loaded, or are others by now", "loads"),
            holds("not_predecessor", of, "are no checkpoint of the iteration before", "is_predecessor"),
            holds("outdated", of, "are not the model that would judge now", "is_current", severity="warning"),
        ),
    )


def _judge(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    layout, iteration = subject.layout, subject.iteration
    row = dict.fromkeys(_SCHEMA) | {
        "iteration": iteration,
        "loads": False,
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
        row["loads"] = _digest_now(judge) == judge.digest
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
