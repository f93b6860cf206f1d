"""Whether the checks that can stop a run have passed.

Belongs here: which checks those are, and what the event log says of them. Not here: what they demand (checks/).
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_made
from selftaught_assets.checks.suites import suites_of


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
        asset = made[suite.asset]
        if asset is not None and record.run_id != asset.run_id and record.event.timestamp < asset.timestamp:
            return f"{name} was not made since {suite.asset} was"
        evaluation = record.event.dagster_event and record.event.dagster_event.asset_check_evaluation_data
        failed = evaluation is None or evaluation.severity == dg.AssetCheckSeverity.ERROR
        if record.status != AssetCheckExecutionRecordStatus.SUCCEEDED and failed:
            return f"{name} did not pass"
    return None
