"""`trace`: from an id to the chain that it belongs to.

Belongs here: which tree answers which kind of id, and what is noticed on the way. Not here: the trees themselves.
"""

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.lineage.chain import instruction_chain, judgings, pairs_of
from selftaught_assets.lineage.find import Found, find
from selftaught_assets.lineage.measured import item_tree, model_tree
from selftaught_assets.lineage.models import Models
from selftaught_assets.lineage.nodes import Folder, node, walk
from selftaught_assets.lineage.schema import Node, Trace
from selftaught_assets.lineage.tables import Tables
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout

SCHEMA = 1


def trace(layout: Layout, recipe: Recipe, id: str, *, down: bool = False, iteration: str | None = None) -> Trace:
    """Where a row or model comes from (up), or what came of it (down).

    Upwards the answer is the whole chain that the row stands in: its line in the pool, instruction, pair, all judgments
    of the pair, and what was trained on them; of an instruction, its line and the iterations that selected it.
    Downwards it is the row with all that came of it, in all iterations.

    Args:
        layout: the data folder.
        recipe: whose data it is.
        id: of an instruction, pair, judgment, example or benchmark item, the digest of a model, or its beginning.
        down: which way.
        iteration: only what belongs to it.

    Raises:
        UserError: the id is unknown, too short or that of several; there is no such iteration; a table is damaged.
    """
    tables = Tables(layout, iteration)
    models = Models(layout, recipe.seed_model)
    if iteration is not None and not any(tables.iterations(asset) for asset in ("instructions", "pairs", "judgments")):
        there = ", ".join(Tables(layout).iterations("instructions")) or "none"
        raise UserError(f"There is no table of {iteration} in {layout.folder}; iterations there: {there}.")
    found = find(Tables(layout, iteration), models, id)  # What is only searched is no part of the answer.
    folder = Folder(tables, models, recipe.name)
    trees = _trees(folder, recipe, found, down)
    for tree in trees:
        for one in walk(tree):
            one["asked"] = (one["kind"], one["id"]) == (found.kind, found.id)
    if down:
        trees = [part for tree in trees for part in _asked_in(tree)]
    _notice_outdated(folder)
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "id": found.id,
        "kind": found.kind,
        "direction": "down" if down else "up",
        "trees": trees,
        "tables": tables.read(),
        "problems": folder.problems,
    }


def _trees(folder: Folder, recipe: Recipe, found: Found, down: bool) -> list[Node]:
    if found.kind == "model":
        return [model_tree(folder, found.id, down)]
    if found.kind == "item":
        return [item_tree(folder, recipe, found.id, found.benchmark)]
    if found.kind == "instruction":
        pairs = pairs_of(folder, pl.col("instruction_id") == found.id)[1] if down else []
        return [instruction_chain(folder, found.id, pairs)]
    pair_id, iterations = _pair_of(folder, found)
    instruction_id, pairs = pairs_of(folder, pl.col("pair_id") == pair_id, iterations)
    if instruction_id is None:
        folder.problem(f"The pair {pair_id} is in no table of pairs that is there now.")
        unknown = {"iterations": [], "drop_reason": None, "strategy": None}
        return [node("pair", unknown, id=pair_id, children=judgings(folder, pair_id, iterations))]
    return [instruction_chain(folder, instruction_id, pairs)]


def _pair_of(folder: Folder, found: Found) -> tuple[str, list[str] | None]:
    """The pair of a pair, judgment or example, and the iterations that the row is from; None for all."""
    if found.kind == "pair":
        return found.id, None
    asset = {"judgment": "judgments", "example": "filtered_set"}[found.kind]
    rows = folder.tables.in_iterations(asset, pl.col(f"{found.kind}_id") == found.id, ("pair_id",))
    having = {iteration: those[0]["pair_id"] for iteration, those in rows.items() if those}
    return next(iter(having.values())), list(having)


def _asked_in(tree: Node) -> list[Node]:
    if tree["asked"]:
        return [tree]
    return [part for child in tree["children"] for part in _asked_in(child)]


def _notice_outdated(folder: Folder) -> None:
    """Says of every table that was read which of its inputs is another one now."""
    tables = folder.tables
    for table in tables.read():
        iteration = table["iteration"]
        for upstream, version in table["made_of"].items():
            if version is not None and _version(folder, upstream, iteration) not in (None, version):
                of = "" if iteration is None else f" of {iteration}"
                folder.problem(
                    f"`{table['asset']}`{of} was made of another `{upstream}` than the one that is there now."
                )


def _version(folder: Folder, asset: str, iteration: str | None) -> str | None:
    """The data version of what is there now; None where that is not known."""
    if asset == "judge":
        pointer = folder.models.judges.get(iteration or "")
        return pointer and pointer.digest[:16]
    if asset == "checkpoint":
        newest = [one for one in folder.models.checkpoints if one.iteration == iteration and one.newest]
        return newest[0].manifest.digest[:16] if newest else None
    made = folder.tables.made(asset, iteration) or folder.tables.made(asset)
    return made and made.data_version
