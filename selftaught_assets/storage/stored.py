"""What every stage has stored, and whether it is current.

The records lie with the data: in the footers of tables, in the pointers of `seed_model` and `judge`, and beside the
checkpoints. So the answer does not depend on Dagster's event log, and travels with the data folder.
"""

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from selftaught_assets.iterations import iteration_key, previous_iteration
from selftaught_assets.recipe import Recipe
from selftaught_assets.staleness import ITERATION, Basis, basis_of, stage_of, why_stale
from selftaught_assets.storage.checkpoints import read_current
from selftaught_assets.storage.files import FIRST, require_readable
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_provenance

VERSION_LENGTH = 16
"""Hex digits of a data version."""


class Stored(NamedTuple):
    """What a stage has made."""

    version: str | None
    """Data version: of a table's rows, or of a model. None where it is not recorded."""
    basis: Basis | None
    """None where no record was kept."""


class Stale(NamedTuple):
    """A stage that is not current."""

    stage: str
    iteration: str | None
    reason: str
    """A clause that names the stage."""


def stored(layout: Layout, stage: str, iteration: str | None) -> Stored | None:
    """What is there of an asset; None where it is missing.

    Args:
        layout: the data folder of the recipe.
        stage: the asset.
        iteration: None for what belongs to none.
    """
    if stage == "seed_model":
        return _pointer(layout.seed_model)
    if stage == "judge":
        return _pointer(layout.judge(str(iteration)))
    if stage == "checkpoint":
        current = read_current(layout.current_checkpoint(str(iteration)))
        return None if current is None else Stored(current.digest[:VERSION_LENGTH], current.basis)
    path = layout.table(stage, iteration)
    if not path.is_file():
        return None
    provenance = read_provenance(path)
    return Stored(None, None) if provenance is None else Stored(provenance.data_version, provenance.basis)


def required(recipe: Recipe, layout: Layout, stage: str, iteration: str | None) -> Basis:
    """What an asset would rest on if it were made now."""
    return basis_of(recipe, stage, versions(recipe, layout, stage, iteration))


def versions(recipe: Recipe, layout: Layout, stage: str, iteration: str | None) -> dict[str, str | None]:
    """The version of everything that an asset is made of, as it is there now; None for what is missing."""
    return {name: _version(layout, *place) for name, place in _upstream(recipe, stage, iteration).items()}


def stale(recipe: Recipe, layout: Layout, stage: str, iteration: str | None) -> Stale | None:
    """Why what is there of an asset is not what would be made now; None where it is current.

    What is upstream is not looked at, beyond its version: see `first_stale`.
    """
    made = stored(layout, stage, iteration)
    if made is None:
        return Stale(stage, iteration, f"{stage} is missing")
    reason = why_stale(stage, required(recipe, layout, stage, iteration), made.basis)
    return None if reason is None else Stale(stage, iteration, reason)


def first_stale(recipe: Recipe, layout: Layout, stage: str, iteration: str | None) -> Stale | None:
    """The first thing that is not current among an asset and all that it is made of, nearest first; None: all is."""
    to_ask = [(stage, iteration)]
    for place in to_ask:
        if found := stale(recipe, layout, *place):
            return found
        to_ask += [place for place in _upstream(recipe, *place).values() if place not in to_ask]
    return None


def all_stale(recipe: Recipe, layout: Layout) -> dict[str, list[Stale]]:
    """By iteration: everything that is not current, in the order in which it is made.

    What follows from something stale is stale as well: it is made again, though its content may turn out the same.
    """
    found: dict[tuple[str, str | None], Stale] = {}
    for iteration in map(iteration_key, range(1, recipe.iterations + 1)):
        for stage in ITERATION:
            again = next((name for name, place in _upstream(recipe, stage, iteration).items() if place in found), None)
            reason = stale(recipe, layout, stage, iteration)
            if reason is None and again is not None:
                reason = Stale(stage, iteration, f"{again} is made again first")
            if reason is not None:
                found[stage, iteration] = reason
    keys = map(iteration_key, range(1, recipe.iterations + 1))
    return {key: [reason for (_, iteration), reason in found.items() if iteration == key] for key in keys}


def _upstream(recipe: Recipe, stage: str, iteration: str | None) -> dict[str, tuple[str, str | None]]:
    """By name, where what an asset is made of is kept: which asset, and which iteration."""
    if stage == "judge" and (previous := previous_iteration(str(iteration))) is not None:
        return {"checkpoint": ("checkpoint", previous)}
    places: dict[str, tuple[str, str | None]] = {}
    for name in stage_of(recipe, stage).made_of:
        if name not in ITERATION:
            places[name] = name, None
        elif iteration is not None:
            places[name] = name, iteration
        else:
            keys = map(iteration_key, range(1, recipe.iterations + 1))
            places |= {f"{name} of {key}": (name, key) for key in keys}
    return places


def _version(layout: Layout, stage: str, iteration: str | None) -> str | None:
    found = stored(layout, stage, iteration)
    return None if found is None else found.version


def _pointer(path: Path) -> Stored | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        require_readable(content, FIRST, path)
        version = str(content["digest"])[:VERSION_LENGTH]
        return Stored(version, Basis.model_validate(content["basis"]) if "basis" in content else None)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, KeyError, TypeError, ValidationError):
        return Stored(None, None)
