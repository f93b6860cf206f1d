"""The edge that Dagster cannot draw: checkpoint[i] becomes judge[i+1].

A drawn edge would close a cycle between asset keys, which Dagster refuses. So the edge is recorded: once a checkpoint
has passed its checks, a materialization of the next `judge` is logged, and `judge` asks here before it takes a
checkpoint over.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_attempt, newest_made, unpassed, with_data_version
from selftaught_assets.assets.io_manager import BASIS
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.staleness import Basis, basis_of
from selftaught_assets.storage.checkpoints import current_checkpoint, reference_checkpoint
from selftaught_assets.storage.models import ModelReference, reference_model, write_pointer
from selftaught_assets.storage.stored import VERSION_LENGTH, first_stale

TRAINED_BY = "trained_by"
"""Metadata of `judge`: the run that trained it."""

POLL_SECONDS = 1.0
QUEUE_SECONDS = 120.0
"""How long a predecessor of the same backfill may stay where nobody makes it: with a limit of one run, for ever."""
GIVE_WAY_SECONDS = 10.0
"""The same where this run can go back into the queue and let its predecessor pass."""
MAX_GIVE_WAYS = 20

EXECUTING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
GIVEN_UP = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
BACKFILL_TAG = "dagster/backfill"
PARTITION_TAG = "dagster/partition"
MAX_RETRIES_TAG = "dagster/max_retries"
RETRIED_AS_TAG = "dagster/auto_retry_run_id"


def await_checkpoint(context: dg.AssetExecutionContext, family: Family, iteration: str) -> ModelReference:
    """The current checkpoint of an iteration, once nobody is making a newer one, and its blocking checks have passed.

    Waits, bounded by the recipe, for a run that is training or checking it right now and for one that this run's own
    backfill has yet to start; never for one that merely might come. Where the instance retries runs (the shipped one
    does), a run
    that holds the place which its predecessor needs goes back into the queue instead.

    Raises:
        UserError: the checkpoint is missing, its newest attempt failed or never started, it is stale, it failed a
            check, the wait was in vain, or this run gives way to its predecessor.
    """
    instance, key = context.instance, family.key("checkpoint")
    wanted = f"`{key.to_user_string()}` of {iteration}"
    patience = GIVE_WAY_SECONDS if instance.run_retries_enabled else QUEUE_SECONDS
    started = moved = time.monotonic()
    while prospect := _prospect(context, family, iteration):
        now = time.monotonic()
        if started == moved:
            context.log.info(f"Waiting for {wanted}, {prospect.description}.")
        if prospect.executing:
            moved = now
        if now - moved > patience and _queue_again(context):
            raise UserError(
                f"{wanted} comes first, {prospect.description}: this run stops to make room and is queued again."
            )
        if now - moved > patience or now - started > family.recipe.promotion.wait_seconds:
            raise UserError(
                f"Waited {now - started:.0f} s in vain for {wanted}, {prospect.description}: materialize it first."
            )
        time.sleep(POLL_SECONDS)
    model = require_current(family, iteration, following=context.partition_key)
    if problem := unpassed(instance, family, ("checkpoint",), iteration):
        raise UserError(
            f"{wanted} may not judge: {problem}; materialize it with its checks, then {context.partition_key}."
        )
    return model


def require_current(family: Family, iteration: str, *, following: str | None) -> ModelReference:
    """The current checkpoint of an iteration, if it is what would be made now, and so is all that it is made of.

    Raises:
        UserError: there is none, its files are gone or altered, or it is stale. The sentence says why, and names what
            to materialize; last the iteration that follows, if any.
    """
    model = reference_current_checkpoint(family, iteration)
    if stale := first_stale(family.recipe, family.layout, "checkpoint", iteration):
        first = f"`{stale.stage}`, then {iteration}" if stale.iteration is None else stale.iteration
        elsewhere = f" of {stale.iteration}" if stale.iteration not in (None, iteration) else ""
        afterwards = "" if following is None else f", then {following}"
        raise UserError(
            f"`{family.key('checkpoint').to_user_string()}` of {iteration} is stale: {stale.reason}{elsewhere}; "
            f"materialize {first} up to `checkpoint`{afterwards}."
        )
    return model


def reference_current_checkpoint(family: Family, iteration: str) -> ModelReference:
    """The current checkpoint of an iteration, stale or not.

    Raises:
        UserError: there is none, or its files are gone or altered.
    """
    folder = current_checkpoint(family.layout.checkpoints(iteration))
    if folder is None:
        raise UserError(
            f"`{family.key('checkpoint').to_user_string()}` of {iteration} does not exist: materialize it first."
        )
    return reference_checkpoint(folder, reference_model(family.recipe.seed_model))


def publish_judge(
    log: Callable[[dg.AssetMaterialization], None],
    family: Family,
    model: ModelReference,
    iteration: str,
    **metadata: dg.MetadataValue,
) -> None:
    """Makes a checkpoint the judge of an iteration: writes the pointer and logs the materialization of `judge`.

    The data version is the model's digest, so whatever the previous judge made shows as stale.

    Args:
        log: of the run that trained it, or of the instance.
        family: of the recipe.
        model: the checkpoint.
        iteration: that it is to judge.
        metadata: who made it the judge.
    """
    basis = write_judge(family, model, iteration)
    log(
        dg.AssetMaterialization(
            family.key("judge"),
            partition=iteration,
            tags=with_data_version(judge_version(model)),
            metadata={**judge_metadata(family, model, iteration, basis), **metadata},
        )
    )


def write_judge(family: Family, model: ModelReference, iteration: str) -> Basis:
    """Writes the pointer to the model that judges an iteration; returns what it rests on."""
    if previous_iteration(iteration) is None:
        basis = family.basis("judge", iteration)
    else:
        basis = basis_of(family.recipe, "judge", {"checkpoint": judge_version(model).value})
    write_pointer(family.layout.judge(iteration), model, root=family.layout.root, basis=basis)
    return basis


def judge_version(model: ModelReference) -> dg.DataVersion:
    """The data version of a judge: the digest of its weights."""
    return dg.DataVersion(model.digest[:VERSION_LENGTH])


def judge_metadata(family: Family, model: ModelReference, iteration: str, basis: Basis) -> dict[str, dg.MetadataValue]:
    """What the UI shows of the judge of an iteration, with the way back to the checkpoint that it was."""
    trained = {} if model.adapter is None else {"checkpoint": dg.MetadataValue.asset(family.key("checkpoint"))}
    return {
        "judge_digest": dg.MetadataValue.text(model.digest),
        "path": dg.MetadataValue.path(model.adapter or model.base),
        "pointer": dg.MetadataValue.path(family.layout.judge(iteration)),
        BASIS: dg.MetadataValue.json(basis.model_dump()),
        **trained,
    }


class _Prospect(NamedTuple):
    """A checkpoint that is to come."""

    description: str
    executing: bool
    """Whether a run works towards it now."""


def _prospect(context: dg.AssetExecutionContext, family: Family, partition: str) -> _Prospect | None:
    """What to wait for; None where the newest materialization, if any, is the one to take.

    Raises:
        UserError: the newest attempt ended without the partition or is queued elsewhere, and this run's backfill does
            not make it either.
    """
    instance, backfill = context.instance, context.run.tags.get(BACKFILL_TAG)
    key = family.key("checkpoint")
    attempt = newest_attempt(instance, key, partition)
    same_backfill = attempt is not None and backfill is not None and attempt.tags.get(BACKFILL_TAG) == backfill
    if attempt and attempt.status in EXECUTING:
        return _Prospect(f"which run {attempt.run_id} is making", executing=True)
    if attempt and not attempt.is_finished and same_backfill:
        return _Prospect(f"which run {attempt.run_id} of the same backfill will make", executing=False)
    if backfill and _is_to_come(instance, backfill, key, partition):
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill, PARTITION_TAG: partition}))
        if not any(is_given_up(run) for run in runs):
            executing = any(run.status in EXECUTING for run in runs)
            return _Prospect("which the same backfill will make", executing)
    if attempt is None:
        return _being_checked(instance, family, partition)
    wanted, own = f"`{key.to_user_string()}` of {partition}", context.partition_key
    if attempt.is_finished:
        raise UserError(
            f"The newest attempt to make {wanted} (run {attempt.run_id}) ended without it: "
            f"materialize {wanted} first, then {own}."
        )
    raise UserError(f"{wanted} is still queued in run {attempt.run_id}; materialize {own} after it.")


def _being_checked(instance: dg.DagsterInstance, family: Family, partition: str) -> _Prospect | None:
    """The run that made the newest checkpoint, while it has yet to make its checks."""
    made = newest_made(instance, family.key("checkpoint"), partition)
    run = instance.get_run_by_id(made.run_id) if made and made.run_id else None
    if run is None or run.status not in EXECUTING or unpassed(instance, family, ("checkpoint",), partition) is None:
        return None
    return _Prospect(f"which run {run.run_id} is checking", executing=True)


def _is_to_come(instance: dg.DagsterInstance, backfill_id: str, key: dg.AssetKey, partition: str) -> bool:
    """Whether a backfill is to make a partition, and neither has done so nor been overtaken by a newer one."""
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.asset_backfill_data is None:
        return False
    if partition not in backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.get(key, ()):
        return False
    made = newest_made(instance, key, partition)
    run = instance.get_run_by_id(made.run_id) if made and made.run_id else None
    if run is not None and run.tags.get(BACKFILL_TAG) == backfill_id:
        return False  # Whatever the times say: the clock may have been set back since the backfill began.
    wanted = dg.AssetRecordsFilter(key, asset_partitions=[partition], after_timestamp=backfill.backfill_timestamp)
    return not instance.fetch_materializations(wanted, limit=1).records


def is_given_up(run: dg.DagsterRun) -> bool:
    """Whether a run ended in vain and no automatic retry takes its place."""
    return run.status in GIVEN_UP and not run.is_complete_and_waiting_to_retry and RETRIED_AS_TAG not in run.tags


def _queue_again(context: dg.AssetExecutionContext) -> bool:
    """Has Dagster's automatic retries put this run back into the queue after it has failed; False where they cannot.

    A run's limit of retries is raised by one each time, so that a failure of another kind is not retried.
    """
    instance = context.instance
    group = instance.get_run_group(context.run.run_id)
    runs = 1 if group is None else len(list(group[1]))
    if not instance.run_retries_enabled or runs > MAX_GIVE_WAYS:
        return False
    instance.add_run_tags(context.run.run_id, {MAX_RETRIES_TAG: str(runs)})
    return True
