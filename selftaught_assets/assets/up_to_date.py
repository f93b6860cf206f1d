"""Whether an iteration is finished, and all of it is current.

Belongs here: what has to hold for a run of an iteration to change nothing. Not here: running it (running.py), and what
current means (staleness.py).
"""

import dagster as dg

from selftaught_assets.assets.blocking import unpassed
from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import judge_version, reference_current_checkpoint
from selftaught_assets.assets.history import newest_attempt, newest_version
from selftaught_assets.errors import UserError
from selftaught_assets.staleness import ITERATION
from selftaught_assets.storage.models import read_pointer
from selftaught_assets.storage.stored import stale, stored
from selftaught_assets.storage.tables import read_table, table_version

MISSING = "is missing"
"""How a reason ends where nothing was made yet."""


def why_to_run(instance: dg.DagsterInstance, family: Family, iteration: str) -> str | None:
    """The first reason to run an iteration, or None: nothing would come out otherwise.

    Everything is read: a table, a pointer or a checkpoint whose content is not the one that was recorded is a reason.

    Args:
        instance: whose event log is asked.
        family: of the recipe.
        iteration: its partition key.
    """
    for name in ITERATION:
        key, version = family.key(name), newest_version(instance, family.key(name), iteration)
        if version is None:
            there = stored(family.layout, name, iteration) is not None
            return f"{name} was made elsewhere: Dagster has no record of it" if there else f"{name} {MISSING}"
        if newest_attempt(instance, key, iteration) is not None:
            return f"the newest attempt to make {name} failed"
        if _version_on_disk(family, name, iteration) != version:
            return f"the files of {name} are not those that were made"
        if found := stale(family.recipe, family.layout, name, iteration):
            return found.reason
    return unpassed(instance, family, ITERATION, iteration)


def _version_on_disk(family: Family, name: str, iteration: str) -> str | None:
    """The data version of what is there, taken anew; None where it is missing or damaged."""
    try:
        if name == "judge":
            pointer = read_pointer(family.layout.judge(iteration), root=family.layout.root)
            return judge_version(pointer).value
        if name == "checkpoint":
            return judge_version(reference_current_checkpoint(family, iteration)).value
        table = read_table(family.layout.table(name, iteration))
    except UserError:
        return None
    return None if table is None else table_version(table).value
