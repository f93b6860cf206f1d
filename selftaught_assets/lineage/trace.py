"""`trace`: from an id, or its beginning, to the chain that it belongs to.

The chain of an instruction: from the pool's line through pairs and judgments to the checkpoints trained on them.

Trees that do not begin in the pool: of a model, and of a benchmark's item.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.lineage.lookup import Query, Row, Tables
from selftaught_assets.lineage.nodes import (
    VERDICT_COLUMNS,
    Folder,
    Models,
    checkpoint_facts,
    judges,
    node,
    training_set,
    verdict,
    walk,
)
from selftaught_assets.lineage.schema import Kind, Node, Trace
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.stored import stale

SHORTEST_PREFIX = 4
SHOWN = 5

_SELECTED: tuple[Kind, str, str] = ("instruction", "instructions", "instruction_id")
_ROWS: tuple[tuple[Kind, str, str], ...] = (
    ("pair", "pairs", "pair_id"),
    ("judgment", "judgments", "judgment_id"),
    ("example", "filtered_set", "example_id"),
)


class Found(NamedTuple):
    """What an id names."""

    kind: Kind
    id: str
    benchmark: str | None = None
    """Of an item."""
    own_id: str | None = None
    """Of an instruction that was found by the id that the pool's file gives it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}" if self.benchmark is None else f"{self.kind} {self.benchmark}/{self.id}"


def find(tables: Tables, models: Models, text: str) -> Found:
    """The one row or model whose id is `text` or begins with it; an instruction also by its id in the pool's file.

    An id in full comes before what it is the beginning of. An item of a benchmark may be named `benchmark/item_id`,
    where two benchmarks have it.

    Raises:
        UserError: it is too short, or several, or none.
    """
    candidates = _candidates(tables, models, text)
    whole = [found for found in candidates if text in (found.id, f"{found.benchmark}/{found.id}", found.own_id)]
    if not whole and len(text) < SHORTEST_PREFIX:
        raise UserError(f"{text!r} is too short: give at least {SHORTEST_PREFIX} characters of an id.")
    matching = whole or candidates
    if not matching:
        raise UserError(
            f"No row or model has the id {text!r}: looked at {_named(tables)} and the digests of judges and "
            f"checkpoints in {tables.layout.folder}."
        )
    if len(matching) > 1:
        listed = ", ".join(map(str, matching[:SHOWN]))
        more = ", …" if len(matching) > SHOWN else ""
        raise UserError(f"{text!r} is ambiguous: {listed}{more}; give more characters.")
    return matching[0]


def _candidates(tables: Tables, models: Models, text: str) -> list[Found]:
    """What begins with the text, each once: of each table the first ones in order, so an id in full is among them."""
    places = _places(tables)
    queries = [Query(asset, key, _begins(column, text), (column,)) for _, asset, key, column in places]
    benchmark, slash, item = text.partition("/")
    named = pl.col("benchmark").eq(benchmark) & _begins("item_id", item) if slash else pl.lit(False)
    queries.append(Query("benchmarks", None, named | _begins("item_id", text), ("item_id", "benchmark")))
    *rows, items = tables.rows(queries, at_most=SHOWN + 1)
    found = _with_own_id(tables, text)
    found += [
        Found(kind, row[column]) for (kind, _, _, column), those in zip(places, rows, strict=True) for row in those
    ]
    found += [Found("item", row["item_id"], row["benchmark"]) for row in items]
    found += [
        Found("model", digest)
        for digest in sorted(models.digests())
        if len(text) >= SHORTEST_PREFIX and digest.startswith(text)
    ]
    return list(dict.fromkeys(found))


def _with_own_id(tables: Tables, text: str) -> list[Found]:
    """The instruction whose line in the pool has this id, in full: ids of files are often numbers in a row."""
    scan = tables.scan("instruction_pool", None)
    if scan is None or "pool_id" not in scan.collect_schema():  # A table of an earlier version.
        return []
    (rows,) = tables.rows([Query("instruction_pool", None, pl.col("pool_id") == text, ("instruction_id", "pool_id"))])
    return [Found("instruction", row["instruction_id"], own_id=row["pool_id"]) for row in rows]


def _begins(column: str, text: str) -> pl.Expr:
    whole = pl.col(column) == text
    return whole if len(text) < SHORTEST_PREFIX else pl.col(column).str.starts_with(text)


def _places(tables: Tables) -> list[tuple[Kind, str, str | None, str]]:
    """Kind, table, iteration and column of the ids. What iterations select is in the pool, unless that is gone."""
    pool: list[tuple[Kind, str, str | None, str]] = [("instruction", "instruction_pool", None, "instruction_id")]
    has_pool = tables.layout.table("instruction_pool").is_file()
    return [*pool, *_iterated(tables, _ROWS if has_pool else (_SELECTED, *_ROWS))]


def _iterated(tables: Tables, kinds: tuple[tuple[Kind, str, str], ...]) -> list[tuple[Kind, str, str | None, str]]:
    return [(kind, asset, key, column) for kind, asset, column in kinds for key in tables.iterations(asset)]


def _named(tables: Tables) -> str:
    """The tables that there are."""
    names = dict.fromkeys([*(asset for _, asset, _, _ in _places(tables)), "benchmarks"])
    there = [name for name in names if tables.iterations(name) or tables.layout.table(name).is_file()]
    return ", ".join(there) or "no table (nothing is materialized)"


_POOL_COLUMNS = ("instruction", "line", "pool_id", "source", "category", "drop_reason")
_PAIR_COLUMNS = (
    "pair_id",
    "instruction_id",
    "instruction",
    "modified_instruction",
    "chosen",
    "rejected",
    "strategy",
    "generator",
    "chosen_finish",
    "modified_finish",
    "rejected_finish",
    "drop_reason",
)
_JUDGMENT_COLUMNS = (
    "judgment_id",
    "sample_index",
    "chosen_position",
    "rated",
    "judge",
    "judgment",
    "verdict",
    "is_correct",
    "finish_reason",
    "completion_tokens",
    "elicited",
    "drop_reason",
)
_EXAMPLE_COLUMNS = ("example_id", "judgment_id", "label", "split", "drop_reason")


def instruction_chain(folder: Folder, instruction_id: str, pairs: list[Node]) -> Node:
    """An instruction below its line in the pool, with some of its pairs below it."""
    tables, wanted = folder.tables, pl.col("instruction_id") == instruction_id
    (lines,) = tables.rows([Query("instruction_pool", None, wanted, _POOL_COLUMNS)])
    selected = tables.in_iterations("instructions", wanted, ("drop_reason",))
    rows = {iteration: _first_kept(found) for iteration, found in selected.items() if found}
    facts = {
        "text": _first_kept(lines)["instruction"] if lines else _selected_text(folder, wanted, rows),
        "selected_in": [iteration for iteration, row in rows.items() if row["drop_reason"] is None],
        "not_selected_in": {key: row["drop_reason"] for key, row in rows.items() if row["drop_reason"] is not None},
    }
    instruction = node("instruction", facts, id=instruction_id, children=pairs)
    return node("pool_line", _pool_line(folder, lines), children=[instruction])


def pairs_of(folder: Folder, where: pl.Expr, iterations: Sequence[str] | None = None) -> tuple[str | None, list[Node]]:
    """The pairs that a filter selects, with all that came of them.

    Args:
        folder: to read from.
        where: on the table of pairs.
        iterations: to which their judgments are restricted; None for all.

    Returns:
        The id of their instruction, and a node for each pair, in the order of their first iterations.
    """
    found: dict[str, list[str]] = {}
    for iteration, rows in folder.tables.in_iterations("pairs", where, ("pair_id",)).items():
        for row in rows:
            found.setdefault(row["pair_id"], []).append(iteration)
    rows = [_pair_row(folder, pair_id, there[0]) for pair_id, there in found.items()]
    pairs = [_pair(folder, row, found[row["pair_id"]], iterations) for row in rows]
    return rows[0]["instruction_id"] if rows else None, pairs


def judgings(folder: Folder, pair_id: str, iterations: Sequence[str]) -> list[Node]:
    """What each iteration made of a pair."""
    wanted = pl.col("pair_id") == pair_id
    judgments = folder.tables.in_iterations("judgments", wanted, _JUDGMENT_COLUMNS, iterations)
    examples = folder.tables.in_iterations("filtered_set", wanted, _EXAMPLE_COLUMNS, iterations)
    for iteration in iterations:
        if iteration not in judgments:
            folder.problem(f"The judgments of {iteration} do not exist yet.")
        elif iteration not in examples:
            folder.problem(f"The filtered set of {iteration} does not exist yet.")
    return [_judging(folder, key, judgments.get(key, []), examples.get(key, [])) for key in iterations]


def _pair_row(folder: Folder, pair_id: str, iteration: str) -> Row:
    """A pair from one table: an id stands for the same texts in all."""
    (rows,) = folder.tables.rows([Query("pairs", iteration, pl.col("pair_id") == pair_id, _PAIR_COLUMNS)])
    return rows[0]


def _pair(folder: Folder, row: Row, there: list[str], iterations: Sequence[str] | None) -> Node:
    facts = {"iterations": there, "drop_reason": row["drop_reason"], "strategy": row["strategy"]}
    children = _texts(folder, there[0], row)
    if row["drop_reason"] is None:
        children += _held_out(folder, row["pair_id"])
        children += judgings(folder, row["pair_id"], [key for key in there if iterations is None or key in iterations])
    return node("pair", facts, id=row["pair_id"], children=children)


def _texts(folder: Folder, iteration: str, row: Row) -> list[Node]:
    """Modified instruction, chosen and rejected response, each with who wrote it and how."""
    one_call = folder.tables.settings("pairs", iteration, "pairs", "form") == "one_call"
    engine = folder.tables.settings("pairs", iteration, "engine")

    def written(column: str, finish: str, sampling: str) -> dict[str, Any]:
        return {
            "text": row[column],
            "finish_reason": row[finish],
            "writer": folder.models.of(row["generator"]),
            "recipe": folder.recipe,
            "sampling": folder.tables.settings("pairs", iteration, "pairs", sampling),
            "engine": engine,
        }

    rejected = written("rejected", "rejected_finish", "modification" if one_call else "response")
    return [
        node("response", {"role": "chosen", **written("chosen", "chosen_finish", "response")}),
        node("modified_instruction", written("modified_instruction", "modified_finish", "modification")),
        node("response", {"role": "rejected", **rejected}),
    ]


def _judging(folder: Folder, iteration: str, judgments: list[Row], examples: list[Row]) -> Node:
    of_judgment = {row["judgment_id"]: row for row in examples}
    after = training_set(folder, iteration) if any(row["drop_reason"] is None for row in examples) else None
    judgments = sorted(
        judgments, key=lambda row: (row["rated"] or "", row["chosen_position"] or "", row["sample_index"])
    )
    children = [_judgment(iteration, row, of_judgment.get(row["judgment_id"]), after) for row in judgments]
    pointer = folder.models.judges.get(iteration)
    judge = judgments[0]["judge"] if judgments else pointer and pointer.digest
    facts = {
        "judge": judge and folder.models.of(judge),
        "sampled": len(judgments),
        "right": sum(row["is_correct"] for row in judgments),
        "kept": sum(row["drop_reason"] is None for row in examples),
        "sampling": folder.tables.settings("judgments", iteration, "judgments", "sampling"),
    }
    return node("judging", facts, iteration=iteration, children=children)


def _judgment(iteration: str, row: Row, example: Row | None, after: Node | None) -> Node:
    kept = example is not None and example["drop_reason"] is None
    names = ("sample_index", "chosen_position", "rated", "verdict", "is_correct", "judge", "finish_reason")
    facts = {
        **{name: row[name] for name in (*names, "completion_tokens", "elicited")},
        "kept": kept,
        "drop_reason": row["drop_reason"] or (example and example["drop_reason"]),
        "text": row["judgment"],
    }
    children = []
    if example is not None:
        of_example = {name: example[name] for name in ("label", "split", "drop_reason")}
        trained = [after] if kept and after is not None else []
        children = [node("example", of_example, id=example["example_id"], iteration=iteration, children=trained)]
    return node("judgment", facts, id=row["judgment_id"], iteration=iteration, children=children)


def _held_out(folder: Folder, pair_id: str) -> list[Node]:
    """Verdicts of later judges about the pair, where it is among those that they are measured on."""
    rows = folder.tables.in_iterations("evaluation", pl.col("item_id") == pair_id, VERDICT_COLUMNS)
    return [verdict(folder, iteration, row) for iteration, found in rows.items() for row in found]


def _pool_line(folder: Folder, lines: list[Row]) -> dict[str, Any]:
    if not lines:
        folder.problem("The instruction is not in the current pool.")
        return {"file": None, "line": None, "pool_id": None, "category": None, "drop_reason": None, "repeated_on": []}
    first = _first_kept(lines)
    return {
        "file": folder.tables.settings("instruction_pool", None, "pool", "path") or first["source"],
        "line": first["line"],
        "pool_id": first["pool_id"],
        "category": first["category"],
        "drop_reason": first["drop_reason"],
        "repeated_on": [row["line"] for row in lines if row is not first],
    }


def _selected_text(folder: Folder, wanted: pl.Expr, iterations: Iterable[str]) -> str | None:
    """The instruction where the pool has it no more."""
    for iteration in iterations:
        (rows,) = folder.tables.rows([Query("instructions", iteration, wanted, ("instruction",))])
        return rows[0]["instruction"]
    return None


def _first_kept(rows: list[Row]) -> Row:
    """The row that is not dropped; else the first."""
    return next((row for row in rows if row["drop_reason"] is None), rows[0])


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
        folder.problem(f"The pair {pair_id} is not in any current table of pairs.")
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
