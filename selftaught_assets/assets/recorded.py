"""What Dagster's event log says of a recipe's checks, stages and attacks: for the report.

Belongs here: the questions to the event log. Not here: the shapes of the answers (report/contents.py) and the learning
curve, which follows from tables (progress.py).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from selftaught_assets.assets.family import SECONDS, UNPARTITIONED, Family
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.method.costs import ACCOUNT
from selftaught_assets.report.contents import Attack, CheckOutcome, Recorded, StageRecord
from selftaught_assets.staleness import ITERATION

SOURCES = ("instruction_pool", "seed_model", "benchmarks", "seed_evaluation")
"""Assets of no iteration whose time the report shows."""

_ATTACK = "attack/"


def read_recorded(
    instance: dg.DagsterInstance, family: Family, checks: Iterable[dg.AssetCheckKey], iterations: list[str]
) -> Recorded:
    """Of every iteration, and of the assets that belong to none (under None).

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        checks: that its definitions have.
        iterations: that have begun.
    """
    checks = list(checks)
    materialized = {
        iteration: {
            name: made
            for name in (SOURCES if iteration is None else ITERATION)
            if (made := newest_materialization(instance, family.key(name), iteration))
        }
        for iteration in (None, *iterations)
    }
    return Recorded(
        checks={
            iteration: [outcome for check in checks for outcome in _outcomes(instance, check, iteration)]
            for iteration in (None, *iterations)
        },
        stages={
            iteration: [_stage(name, made) for name, made in assets.items()]
            for iteration, assets in materialized.items()
        },
        attacks=[
            attack
            for iteration, assets in materialized.items()
            for name in ("seed_evaluation", "evaluation")
            if name in assets
            for attack in _attacks(iteration or "seed", assets[name])
        ],
    )


def _outcomes(instance: dg.DagsterInstance, check: dg.AssetCheckKey, iteration: str | None) -> Iterator[CheckOutcome]:
    """The latest finished evaluation of a check on one partition, if it has any."""
    asset = check.asset_key.path[-1]
    if (asset in UNPARTITIONED) is not (iteration is None):
        return
    # Dagster's public call knows the newest evaluation in any partition only.
    records = instance.event_log_storage.get_asset_check_execution_history(
        check,
        limit=1,
        status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
        partition_filter=PartitionKeyFilter(key=iteration),
    )
    for record in records:
        evaluation = record.evaluation
        if evaluation is None:
            continue
        outcome = "passed" if evaluation.passed else evaluation.severity.value
        time = datetime.fromtimestamp(record.create_timestamp, UTC).isoformat(timespec="seconds")
        yield CheckOutcome(asset, check.name, outcome, evaluation.description or "", time)


def _stage(name: str, made: dg.AssetMaterialization) -> StageRecord:
    numbers = {entry: value.value for entry, value in made.metadata.items()}
    return StageRecord(name, numbers.get(SECONDS), {entry: numbers[entry] for entry in ACCOUNT if entry in numbers})


def _attacks(judge: str, made: dg.AssetMaterialization) -> Iterator[Attack]:
    numbers = {entry: value.value for entry, value in made.metadata.items() if entry.startswith(_ATTACK)}
    for name in dict.fromkeys(entry.split("/")[1] for entry in numbers):
        success, low, high, n = (
            numbers[f"{_ATTACK}{name}/{part}"] for part in ("success", "success_low", "success_high", "n")
        )
        yield Attack(judge, name, success, low, high, n)
