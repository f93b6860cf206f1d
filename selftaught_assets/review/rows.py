"""The rows that a person reviews, read from the stored tables."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.review.answers import Kind, rows_to_review, shown_position
from selftaught_assets.storage.layout import Layout

_IDS: dict[Kind, str] = {"pairs": "pair_id", "judgments": "judgment_id", "instructions": "instruction_id"}


class Text(NamedTuple):
    """A text of a row under its heading."""

    title: str
    text: str


class Row(NamedTuple):
    """What a person is shown, and the label that they are not shown."""

    id: str
    texts: list[Text]
    label: str


def read_rows(layout: Layout, kind: Kind, iteration: str, *, n: int, seed: int) -> list[Row]:
    """Draws at most n of the kept rows of a table. Only the drawn rows are read in full.

    Args:
        layout: of the recipe.
        kind: the table.
        iteration: its partition.
        n: how many rows, at most.
        seed: of the draw.

    Raises:
        UserError: the table does not exist, is damaged, or has no kept row.
    """
    path, id_column = layout.table(kind, iteration), _IDS[kind]
    kept = _collect(path, lambda table: table.filter(pl.col("drop_reason").is_null()).select(id_column))
    if kept.is_empty():
        raise UserError(f"The table {path} has no kept row: there is nothing to review.")
    drawn = rows_to_review(kept, id_column, n=n, seed=seed)
    table = drawn.join(_rows_of(path, id_column, drawn[id_column]), on=id_column, how="left", maintain_order="left")
    if kind == "pairs":
        return [
            _pair(row) for row in table.with_columns(shown_position().alias("chosen_position")).iter_rows(named=True)
        ]
    if kind == "instructions":
        return [_instruction(row) for row in table.iter_rows(named=True)]
    pairs = _rows_of(layout.table("pairs", iteration), "pair_id", table["pair_id"])
    texts = pairs.select("pair_id", "instruction", "chosen", "rejected")
    joined = table.join(texts, on="pair_id", how="left", maintain_order="left")
    if joined["instruction"].null_count():
        raise UserError(
            f"The table {path} has judgments of pairs that are no longer in the table of pairs: materialize "
            f"`judgments` of {iteration} again."
        )
    return [_judgment(row) for row in joined.iter_rows(named=True)]


def _pair(row: dict) -> Row:
    return Row(row["pair_id"], [Text("Instruction", row["instruction"]), *_responses(row)], row["chosen_position"])


def _judgment(row: dict) -> Row:
    # In the single form one response was rated, and has no position.
    responses = [Text("Response", row[row["rated"]])] if row["chosen_position"] is None else _responses(row)
    texts = [Text("Instruction", row["instruction"]), *responses, Text("Judgment", row["judgment"])]
    return Row(row["judgment_id"], texts, "good" if row["is_correct"] else "bad")


def _instruction(row: dict) -> Row:
    return Row(row["instruction_id"], [Text("Instruction", row["instruction"])], "good")


def _responses(row: dict) -> list[Text]:
    first, second = ("chosen", "rejected") if row["chosen_position"] == "A" else ("rejected", "chosen")
    return [Text("Response A", row[first]), Text("Response B", row[second])]


def _rows_of(path: Path, id_column: str, ids: pl.Series) -> pl.DataFrame:
    return _collect(path, lambda table: table.filter(pl.col(id_column).is_in(ids.unique().implode())))


def _collect(path: Path, query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
    if not path.is_file():
        raise UserError(f"The table {path} does not exist: materialize `{path.parent.name}` of {path.stem} first.")
    try:
        return query(pl.scan_parquet(path, glob=False)).collect()
    except pl.exceptions.PolarsError:
        raise UserError(f"The table {path} is damaged: materialize it again.") from None
