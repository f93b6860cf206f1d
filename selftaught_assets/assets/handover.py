"""The edge that Dagster cannot draw: checkpoint[i] becomes judge[i+1].

A drawn edge would close a cycle between asset keys, which Dagster refuses. So the edge is recorded: training logs a
materialization of the next `judge`, and `judge` reads the event log here before it takes a checkpoint over. Belongs
here: what the event log says about a predecessor, and what follows. Not here: the assets themselves.
"""

import time
from typing import NamedTuple

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import MADE_OF, newest_materialization, newest_version, with_data_version
from selftaught_assets.errors import UserError
from selftaught_assets.storage.checkpoints import reference_checkpoint
from selftaught_assets.storage.models import ModelReference, reference_model, write_pointer

CHECKPOINT_FOLDER = "checkpoint_folder"
"""Metadata of `checkpoint`: the name of its folder among the checkpoints of the iteration."""

POLL_SECONDS = 1.0
QUEUE_SECONDS = 120.0
"""How long a predecessor of the same backfill may stay in the queue: with a limit of one run it can never leave it."""

EXECUTING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
BACKFILL_TAG = "dagster/backfill"


class Attempt(NamedTuple):
    """A run that set out to make a partition and has not made it."""

    run: dg.DagsterRun
    queued: bool
    executing: bool


def await_checkpoint(context: dg.AssetExecutionContext, family: Family, iteration: str) -> ModelReference:
    """The newest checkpoint of an iteration, once nobody is making a newer one.

    Waits, bounded by the recipe, for a run that is training it right now; never for one that merely might come.

    Raises:
        UserError: the checkpoint is missing, its newest attempt failed or never started, its data has changed since it
            was trained, or the wait was in vain.
    """
    instance, key = context.instance, family.key("checkpoint")
    wanted = f"`{key.to_user_string()}` of {iteration}"
    started = time.monotonic()
    announced = False
    while attempt := _newest_attempt(instance, key, iteration):
        waited = time.monotonic() - started
        same_backfill = context.run.tags.get(BACKFILL_TAG, "") == attempt.run.tags.get(BACKFILL_TAG)
        if attempt.executing:
            limit = family.recipe.handover.wait_seconds
        elif attempt.queued and same_backfill:
            limit = min(QUEUE_SECONDS, family.recipe.handover.wait_seconds)
        elif attempt.queued:
            raise UserError(
                f"{wanted} is still queued in run {attempt.run.run_id}; materialize {context.partition_key} after it."
            )
        else:
            raise UserError(
                f"The newest attempt to make {wanted} (run {attempt.run.run_id}) ended without it: "
                f"materialize {wanted} first, then {context.partition_key}."
            )
        if waited > limit:
            raise UserError(
                f"Waited {waited:.0f} s in vain for {wanted} (run {attempt.run.run_id}): materialize it first."
            )
        if not announced:
            context.log.info(f"Waiting for {wanted}, which run {attempt.run.run_id} is making.")
            announced = True
        time.sleep(POLL_SECONDS)
    model = reference_newest_checkpoint(instance, family, iteration)
    if outdated := _outdated_upstream(instance, family, iteration):
        raise UserError(
            f"{wanted} is stale: `{outdated}` has changed since; materialize {iteration} up to `checkpoint`, "
            f"then {context.partition_key}."
        )
    return model


def reference_newest_checkpoint(instance: dg.DagsterInstance, family: Family, iteration: str) -> ModelReference:
    """The newest finished checkpoint of an iteration.

    Raises:
        UserError: there is none, or its files are gone or altered.
    """
    made = newest_materialization(instance, family.key("checkpoint"), iteration)
    if made is None:
        raise UserError(
            f"`{family.key('checkpoint').to_user_string()}` of {iteration} does not exist: materialize it first."
        )
    folder = family.layout.checkpoints(iteration) / str(made.metadata[CHECKPOINT_FOLDER].value)
    return reference_checkpoint(folder, reference_model(family.recipe.seed_model))


def hand_over(context: dg.AssetExecutionContext, family: Family, model: ModelReference, iteration: str) -> None:
    """Makes a checkpoint the judge of an iteration: writes the pointer and logs the materialization of `judge`.

    The data version is the model's digest, so whatever the previous judge made shows as stale.
    """
    write_pointer(family.layout.judge(iteration), model, root=family.layout.root)
    context.log_event(
        dg.AssetMaterialization(
            family.key("judge"),
            partition=iteration,
            tags=with_data_version(judge_version(model)),
            metadata={
                **judge_metadata(model),
                "checkpoint": dg.MetadataValue.asset(family.key("checkpoint")),
                "trained_by": dg.MetadataValue.dagster_run(context.run.run_id),
            },
        )
    )


def judge_version(model: ModelReference) -> dg.DataVersion:
    """The data version of a judge: the digest of its weights."""
    return dg.DataVersion(model.digest[:16])


def judge_metadata(model: ModelReference) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a judge."""
    return {
        "judge_digest": dg.MetadataValue.text(model.digest),
        "path": dg.MetadataValue.path(model.adapter or model.base),
    }


def _newest_attempt(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> Attempt | None:
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        key
    )
    if partition not in attempts:
        return None
    run = instance.get_run_by_id(attempts[partition][0])
    if run is None:
        return None
    return Attempt(run, queued=not run.is_finished and run.status not in EXECUTING, executing=run.status in EXECUTING)


def _outdated_upstream(instance: dg.DagsterInstance, family: Family, iteration: str) -> str | None:
    """The first asset, from the checkpoint back, whose content has changed since it was used."""
    to_ask = ["checkpoint"]
    for name in to_ask:
        made = newest_materialization(instance, family.key(name), family.partition_of(name, iteration))
        used = made.metadata[MADE_OF].value if made and MADE_OF in made.metadata else {}
        for upstream, version in used.items():
            if newest_version(instance, family.key(upstream), family.partition_of(upstream, iteration)) != version:
                return upstream
        to_ask += [upstream for upstream in used if upstream not in to_ask]
    return None
