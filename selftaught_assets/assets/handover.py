"""The edge that Dagster cannot draw: checkpoint[i] becomes judge[i+1].

A drawn edge would close a cycle between asset keys, which Dagster refuses. So the edge is recorded: training logs a
materialization of the next `judge`, and `judge` reads the event log here before it takes a checkpoint over. Belongs
here: what the event log says about a predecessor, and what follows. Not here: the assets themselves, and whether a
checkpoint is good enough to judge (promotion.py).
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_attempt, newest_materialization, newest_version, with_data_version
from selftaught_assets.errors import UserError
from selftaught_assets.storage.checkpoints import reference_checkpoint
from selftaught_assets.storage.models import ModelReference, reference_model, write_pointer
from selftaught_assets.storage.tables import MADE_OF

CHECKPOINT_FOLDER = "checkpoint_folder"
"""Metadata of `checkpoint`: the name of its folder among the checkpoints of the iteration."""

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
    """The newest checkpoint of an iteration, once nobody is making a newer one.

    Waits, bounded by the recipe, for a run that is training it right now and for one that this run's own backfill has
    yet to start; never for one that merely might come. Where the instance retries runs (the shipped one does), a run
    that holds the place which its predecessor needs goes back into the queue instead.

    Raises:
        UserError: the checkpoint is missing, its newest attempt failed or never started, its data has changed since it
            was trained, the wait was in vain, or this run gives way to its predecessor.
    """
    instance, key = context.instance, family.key("checkpoint")
    wanted = f"`{key.to_user_string()}` of {iteration}"
    patience = GIVE_WAY_SECONDS if instance.run_retries_enabled else QUEUE_SECONDS
    started = moved = time.monotonic()
    while prospect := _prospect(context, key, iteration):
        now = time.monotonic()
        if started == moved:
            context.log.info(f"Waiting for {wanted}, {prospect.description}.")
        if prospect.executing:
            moved = now
        if now - moved > patience and _queue_again(context):
            raise UserError(
                f"{wanted} comes first, {prospect.description}: this run makes room for it and is queued again."
            )
        if now - moved > patience or now - started > family.recipe.handover.wait_seconds:
            raise UserError(
                f"Waited {now - started:.0f} s in vain for {wanted}, {prospect.description}: materialize it first."
            )
        time.sleep(POLL_SECONDS)
    return reference_current_checkpoint(instance, family, iteration, following=context.partition_key)


def reference_current_checkpoint(
    instance: dg.DagsterInstance, family: Family, iteration: str, *, following: str | None
) -> ModelReference:
    """The newest finished checkpoint of an iteration, if all that it was made of is still the same.

    Raises:
        UserError: there is none, its files are gone or altered, or its data has changed since it was trained. The
            sentence names the iteration that follows, if any, as the one to materialize after it.
    """
    model = reference_newest_checkpoint(instance, family, iteration)
    if outdated := _outdated_upstream(instance, family, iteration):
        afterwards = "" if following is None else f", then {following}"
        raise UserError(
            f"`{family.key('checkpoint').to_user_string()}` of {iteration} is stale: `{outdated}` has changed since; "
            f"materialize {iteration} up to `checkpoint`{afterwards}."
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


def hand_over(
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
    write_pointer(family.layout.judge(iteration), model, root=family.layout.root)
    log(
        dg.AssetMaterialization(
            family.key("judge"),
            partition=iteration,
            tags=with_data_version(judge_version(model)),
            metadata={**judge_metadata(family, model, iteration), **metadata},
        )
    )


def judge_version(model: ModelReference) -> dg.DataVersion:
    """The data version of a judge: the digest of its weights."""
    return dg.DataVersion(model.digest[:16])


def judge_metadata(family: Family, model: ModelReference, iteration: str) -> dict[str, dg.MetadataValue]:
    """What the UI shows of the judge of an iteration, with the way back to the checkpoint that it was."""
    trained = {} if model.adapter is None else {"checkpoint": dg.MetadataValue.asset(family.key("checkpoint"))}
    return {
        "judge_digest": dg.MetadataValue.text(model.digest),
        "path": dg.MetadataValue.path(model.adapter or model.base),
        "pointer": dg.MetadataValue.path(family.layout.judge(iteration)),
        **trained,
    }


class _Prospect(NamedTuple):
    """A checkpoint that is to come."""

    description: str
    executing: bool
    """Whether a run works towards it now."""


def _prospect(context: dg.AssetExecutionContext, key: dg.AssetKey, partition: str) -> _Prospect | None:
    """What to wait for; None where the newest materialization, if any, is the one to take.

    Raises:
        UserError: the newest attempt ended without the partition or is queued elsewhere, and this run's backfill does
            not make it either.
    """
    instance, backfill = context.instance, context.run.tags.get(BACKFILL_TAG)
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
        return None
    wanted, own = f"`{key.to_user_string()}` of {partition}", context.partition_key
    if attempt.is_finished:
        raise UserError(
            f"The newest attempt to make {wanted} (run {attempt.run_id}) ended without it: "
            f"materialize {wanted} first, then {own}."
        )
    raise UserError(f"{wanted} is still queued in run {attempt.run_id}; materialize {own} after it.")


def _is_to_come(instance: dg.DagsterInstance, backfill_id: str, key: dg.AssetKey, partition: str) -> bool:
    """Whether a backfill is to make a partition and no materialization is newer than the backfill."""
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.asset_backfill_data is None:
        return False
    if partition not in backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.get(key, ()):
        return False
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
