"""Trees that do not begin in the pool: of a model, and of a benchmark's item.

Belongs here: what a digest or an item leads to. Not here: instructions, pairs and judgments (chain.py).
"""

import polars as pl

from selftaught_assets.lineage.nodes import VERDICT_COLUMNS, Folder, checkpoint_facts, judges, node, verdict
from selftaught_assets.lineage.schema import Node
from selftaught_assets.lineage.tables import Query
from selftaught_assets.recipe import Recipe

_ITEM_COLUMNS = ("benchmark", "subset", "label", "instruction", "response_a", "response_b", "drop_reason")


def model_tree(folder: Folder, digest: str, down: bool) -> Node:
    """A model: up, what it was trained on; down, what it judged and what came of that. Both say how good it is."""
    trained = [one for one in folder.models.checkpoints if one.manifest.digest == digest]
    children: list[Node] = []
    for one in trained:
        metrics = one.manifest.metrics
        facts = {"examples": metrics.examples, "validation_examples": metrics.validation_examples}
        if not down:
            children.append(node("training_set", facts, id=one.manifest.training_set_digest, iteration=one.iteration))
        children.append(node("checkpoint", checkpoint_facts(folder, one), id=digest, iteration=one.iteration))
        children += folder.evaluations(one.iteration, digest)
    if not trained:
        children += folder.evaluations(None, digest)
    children += judges(folder, digest, counted=down)
    return node("model", dict(folder.models.of(digest)), id=digest, children=children)


def item_tree(folder: Folder, recipe: Recipe, item_id: str, benchmark: str | None) -> Node:
    """A pair of a benchmark, and what every judge says about it in each order."""
    of_item = (pl.col("item_id") == item_id) & (pl.col("benchmark") == benchmark)
    queries = [
        Query("benchmarks", None, of_item, _ITEM_COLUMNS),
        Query("seed_evaluation", None, of_item, VERDICT_COLUMNS),
    ]
    (row, *_), of_seed = folder.tables.rows(queries)
    of_iterations = folder.tables.in_iterations("evaluation", of_item, VERDICT_COLUMNS)
    verdicts = {None: of_seed, **of_iterations}
    children = [verdict(folder, iteration, found) for iteration, rows in verdicts.items() for found in rows]
    return node("item", {**row, "source": _source(folder, recipe, benchmark)}, id=item_id, children=children)


def _source(folder: Folder, recipe: Recipe, benchmark: str | None) -> str | None:
    """Where the benchmark is from: as the table says, else as the recipe says today."""
    said = folder.tables.settings("benchmarks", None, "benchmarks")
    known = said or recipe.model_dump(mode="json", include={"benchmarks"})["benchmarks"]
    return next((one["path"] or one["hub"] for one in known if one["name"] == benchmark), None)
