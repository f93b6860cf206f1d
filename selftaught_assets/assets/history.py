"""What Dagster's event log says: earlier materializations, and whether blocking checks have passed."""

from collections.abc import Sequence
from typing import NamedTuple

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from selftaught_assets.assets.family import Family
from selftaught_assets.checks.suites import suites_of

DATA_VERSION_TAG = "dagster/data_version"


class Made(NamedTuple):
    """A materialization that a stage logged."""

    event: dg.AssetMaterialization
    run_id: str
    """Empty where it was logged outside of a run: by a promotion by hand."""
    storage_id: int
    """Its number in the event log: events are numbered as they come, whatever the clock says."""


def newest_made(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> Made | None:
    """The newest materialization of an asset's partition; of an unpartitioned asset if `partition` is None.

    One that somebody reported in Dagster's UI says nothing of what lies there, and has no data version: it is passed
    over.
    """
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition])
    cursor = None
    while True:
        found = instance.fetch_materializations(wanted, limit=10, cursor=cursor)
        for record in found.records:
            event = record.asset_materialization
            if event is not None and DATA_VERSION_TAG in (event.tags or {}):
                return Made(event, record.run_id, record.storage_id)
        if not found.has_more:
            return None
        cursor = found.cursor


def newest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None
) -> dg.AssetMaterialization | None:
    """The event of `newest_made`."""
    made = newest_made(instance, key, partition)
    return None if made is None else made.event


def newest_run(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """The id of the run that made an asset's partition last; None if there is none."""
    made = newest_made(instance, key, partition)
    return None if made is None else made.run_id


def newest_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """The data version of the newest materialization, as Dagster shows it; None if there is none."""
    made = newest_made(instance, key, partition)
    return None if made is None else made.event.tags[DATA_VERSION_TAG]


def newest_attempt(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> dg.DagsterRun | None:
    """The run that set out last to make a partition and has not made it; None if the newest attempt made it."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        key
    )
    return instance.get_run_by_id(attempts[partition][0]) if partition in attempts else None


def with_data_version(version: dg.DataVersion) -> dict[str, str]:
    """The tags of a materialization that is logged by hand."""
    return {DATA_VERSION_TAG: version.value}


def unpassed(instance: dg.DagsterInstance, family: Family, assets: Sequence[str], iteration: str) -> str | None:
    """The first blocking check that failed, or was not made since its asset was; None where all passed.

    Warnings stop nothing.

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        assets: whose checks.
        iteration: their partition.

    Returns:
        A clause that names the check and its asset.
    """
    blocking = [suite for suite in suites_of(family.recipe) if suite.can_stop and suite.asset in assets]
    keys = [dg.AssetCheckKey(family.key(suite.asset), suite.name) for suite in blocking]
    # Dagster's public call knows the newest evaluation in any partition only.
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        keys, partition_filter=PartitionKeyFilter(key=iteration)
    )
    made = {asset: newest_made(instance, family.key(asset), iteration) for asset in assets}
    for suite, key in zip(blocking, keys, strict=True):
        name, record = f"the check {suite.name} of {suite.asset}", newest.get(key)
        if record is None or record.event is None or record.status == AssetCheckExecutionRecordStatus.PLANNED:
            return f"{name} was never made"
        asset, evaluation = made[suite.asset], record.evaluation
        checked = evaluation and evaluation.target_materialization_data
        if asset and (checked is None or checked.storage_id < asset.storage_id):
            return f"{name} was not made since {suite.asset} was"
        failed = evaluation is None or evaluation.severity == dg.AssetCheckSeverity.ERROR
        if record.status != AssetCheckExecutionRecordStatus.SUCCEEDED and failed:
            return f"{name} did not pass"
    return None
