"""What Dagster's event log says of earlier materializations.

Belongs here: questions to the event log that several assets ask. Not here: what follows from the answers.
"""

from typing import NamedTuple

import dagster as dg

DATA_VERSION_TAG = "dagster/data_version"


class Made(NamedTuple):
    """A materialization that a stage logged."""

    event: dg.AssetMaterialization
    run_id: str
    """Empty where it was logged outside of a run: by a promotion by hand."""
    timestamp: float


def newest_made(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> Made | None:
    """The newest materialization of an asset's partition; of an unpartitioned asset where `partition` is None.

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
                return Made(event, record.run_id, record.timestamp)
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
