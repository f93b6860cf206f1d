"""What Dagster's event log says of earlier materializations.

Belongs here: questions to the event log that several assets ask. Not here: what follows from the answers.
"""

import dagster as dg

_DATA_VERSION_TAG = "dagster/data_version"


def newest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None
) -> dg.AssetMaterialization | None:
    """The newest materialization of an asset's partition; of an unpartitioned asset where `partition` is None."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].asset_materialization if records else None


def newest_run(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """The id of the run that made an asset's partition last; None if there is none."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].run_id if records else None


def newest_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """The data version of the newest materialization; None if there is none."""
    made = newest_materialization(instance, key, partition)
    return None if made is None else made.tags[_DATA_VERSION_TAG]


def newest_attempt(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> dg.DagsterRun | None:
    """The run that set out last to make a partition and has not made it; None if the newest attempt made it."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        key
    )
    return instance.get_run_by_id(attempts[partition][0]) if partition in attempts else None


def with_data_version(version: dg.DataVersion) -> dict[str, str]:
    """The tags of a materialization that is logged by hand."""
    return {_DATA_VERSION_TAG: version.value}
