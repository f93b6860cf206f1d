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
from selftaught_assets.storage.stored import stale

SCHEMA = 2


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
    _notice_stale(folder, recipe)
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


def _notice_stale(folder: Folder, recipe: Recipe) -> None:
    """Says of every table that was read why it is not current, if it is not."""
    for table in folder.tables.read():
        asset, iteration = table["asset"], table["iteration"]
        known = folder.tables.made(asset, iteration)
        if known is not None and (found := stale(recipe, folder.tables.layout, asset, iteration)):
            of = "" if iteration is None else f" of {iteration}"
            folder.problem(f"`{asset}`{of} is stale: {found.reason}.")
