"""The chain of an instruction: from the pool's line through pairs and judgments to the checkpoints trained on them.

Belongs here: which row leads to which, by ids. Not here: what becomes of a training set (nodes.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from selftaught_assets.lineage.nodes import VERDICT_COLUMNS, Folder, node, training_set, verdict
from selftaught_assets.lineage.schema import Node
from selftaught_assets.lineage.tables import Query, Row

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
            folder.problem(f"The judgments of {iteration} are not made yet.")
        elif iteration not in examples:
            folder.problem(f"The filtered set of {iteration} is not made yet.")
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
        **{name: row[name] for name in (*names, "completion_tokens")},
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
        folder.problem("The instruction is in no line of the pool that is there now.")
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
