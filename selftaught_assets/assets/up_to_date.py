"""Whether an iteration is finished, and all of it is made of what is there now.

Belongs here: what has to hold for a run of an iteration to change nothing. Not here: running it (running.py).
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import judge_version, reference_newest_checkpoint
from selftaught_assets.assets.history import newest_attempt, newest_materialization, newest_version
from selftaught_assets.assets.progress import STAGES
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.storage.models import read_pointer
from selftaught_assets.storage.tables import MADE_OF, read_table, table_version

MISSING = "is missing"
"""How a reason ends where nothing was made yet."""

_CODE_VERSION_TAG = "dagster/code_version"


def why_to_run(instance: dg.DagsterInstance, family: Family, iteration: str, definitions: dg.Definitions) -> str | None:
    """The first reason to run an iteration, or None: nothing would come out otherwise.

    Everything is read: a table, a pointer or a checkpoint whose content is not the one that was recorded is a reason.

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        iteration: its partition key.
        definitions: the assets and checks as they are defined now.
    """
    graph = definitions.resolve_asset_graph()
    for name in STAGES:
        key, made = family.key(name), newest_materialization(instance, family.key(name), iteration)
        if made is None:
            return f"{name} {MISSING}"
        if newest_attempt(instance, key, iteration) is not None:
            return f"the newest attempt to make {name} failed"
        code_version = graph.get(key).code_version
        if made.tags.get(_CODE_VERSION_TAG, code_version) != code_version:
            return f"the recipe changed for {name}"
        used = made.metadata[MADE_OF].value if MADE_OF in made.metadata else {}
        for upstream, version in used.items():
            if newest_version(instance, family.key(upstream), family.partition_of(upstream, iteration)) != version:
                return f"{upstream} changed after {name} was made of it"
        if _version_on_disk(instance, family, name, iteration) != newest_version(instance, key, iteration):
            return f"the files of {name} are not those that were made"
    previous = previous_iteration(iteration)
    judge = newest_version(instance, family.key("judge"), iteration)
    if previous is not None and judge != newest_version(instance, family.key("checkpoint"), previous):
        return f"{previous} has another checkpoint now"
    assets = {family.key(name) for name in STAGES}
    checks = [key for key in graph.asset_check_keys if key.asset_key in assets and graph.get(key).blocking]
    return _unpassed(instance, iteration, checks)


def _version_on_disk(instance: dg.DagsterInstance, family: Family, name: str, iteration: str) -> str | None:
    """The data version of what is there; None where it is missing or damaged."""
    try:
        if name == "judge":
            pointer = read_pointer(family.layout.judge(iteration), root=family.layout.root)
            return judge_version(pointer).value
        if name == "checkpoint":
            return judge_version(reference_newest_checkpoint(instance, family, iteration)).value
        table = read_table(family.layout.table(name, iteration))
    except UserError:
        return None
    return None if table is None else table_version(table).value


def _unpassed(instance: dg.DagsterInstance, iteration: str, checks: Sequence[dg.AssetCheckKey]) -> str | None:
    """The first check that stopped its run, or never ran; warnings stop nothing."""
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(checks), partition_filter=PartitionKeyFilter(key=iteration)
    )
    for check in checks:
        if check not in newest:
            return f"the check {check.name} of {check.asset_key.path[-1]} was never made"
        record = newest[check]
        if record.status == AssetCheckExecutionRecordStatus.SUCCEEDED:
            continue
        evaluation = record.event and record.event.dagster_event.asset_check_evaluation_data
        if evaluation is None or evaluation.severity == dg.AssetCheckSeverity.ERROR:
            return f"the check {check.name} of {check.asset_key.path[-1]} did not pass"
    return None
