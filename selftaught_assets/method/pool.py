"""The pool of unlabelled instructions: what of a record is the instruction, and the table of all of them.

A record is a text, an instruction with the text that it is about, or a conversation, of which the first turn of the
user is taken: what follows depends on answers that nobody gives here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import polars as pl

from selftaught_assets.method.identity import is_empty, normalized_instruction, row_ids

PoolFormat = Literal["text", "alpaca", "messages", "conversations", "wildchat"]


class Fields(NamedTuple):
    """Where a format keeps what, unless a recipe says otherwise."""

    instruction: str
    input: str | None = None
    """A text that the instruction is about."""
    id: str | None = None
    is_conversation: bool = False


FORMATS: dict[PoolFormat, Fields] = {
    "text": Fields("instruction"),
    "alpaca": Fields("instruction", input="input"),
    "messages": Fields("messages", is_conversation=True),
    "conversations": Fields("conversations", is_conversation=True),
    "wildchat": Fields("conversation", id="conversation_hash", is_conversation=True),
}

POOL_DROP_REASONS = ("filtered", "no_instruction", "truncated", "failed", "empty", "duplicate")
"""`filtered`: the recipe keeps other values of one of its fields. `no_instruction`: a conversation in which no user
writes a text."""

_SCHEMA = {
    "line": pl.Int64,
    "pool_id": pl.String,
    "instruction": pl.String,
    "source": pl.String,
    "category": pl.String,
    "drop_reason": pl.String,
}
_USERS = ("user", "human")


def first_request(conversation: object) -> str | None:
    """The text of the first turn of the user; None where there is none.

    Args:
        conversation: a list of turns, as OpenAI has them (`role`, `content`) or as ShareGPT does (`from`, `value`). A
            content may be a list of parts, of which the texts count.

    Raises:
        TypeError: it is no list of turns.
    """
    if not isinstance(conversation, list) or not all(isinstance(turn, Mapping) for turn in conversation):
        raise TypeError
    for turn in conversation:
        if turn.get("role", turn.get("from")) in _USERS:
            return _text(turn.get("content", turn.get("value")))
    return None


def _text(content: object) -> str | None:
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        return "\n".join(texts) or None
    return content if isinstance(content, str) else None


def is_kept(values: Mapping[str, object], keep: Mapping[str, tuple[object, ...]]) -> bool:
    """Whether each of these fields of a record has one of the values that are wanted of it.

    Raises:
        KeyError: the record has no such field.
    """
    return all(values[field] in wanted for field, wanted in keep.items())


def pool_rows(records: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """The table of the instruction pool (paper section 3, "Initialization").

    An instruction that repeats an earlier row, but for white space and case, is dropped: the same instruction twice
    would count twice in training and could stand on both sides of the split.

    Args:
        records: one mapping for each row with `line` (its number in the file), `instruction`, `pool_id` (the user's own
            id), `source` (where it is from), `category`, and `drop_reason` where it is dropped already; all but the
            line may be None or absent.

    Returns:
        instruction_id, line, pool_id, instruction, source, category, drop_reason (`POOL_DROP_REASONS`; null = kept), in
        the order of the records.
    """
    pool = pl.DataFrame(list(records), schema=_SCHEMA)
    empty = pl.when(is_empty("instruction")).then(pl.lit("empty"))
    pool = pool.with_columns(drop_reason=pl.coalesce("drop_reason", empty))
    later = pl.when(repeated(pool, pl.col("drop_reason").is_null())).then(pl.lit("duplicate"))
    ids = pl.Series("instruction_id", row_ids("instruction", pool["instruction"].fill_null("")), dtype=pl.String)
    return pool.with_columns(drop_reason=pl.coalesce("drop_reason", later)).select(ids, *_SCHEMA)


def with_input(instruction: str, given: str | None) -> str:
    """An instruction with the text that it is about, as Alpaca's data has them apart: {"instruction", "input"}."""
    return f"{instruction}\n\nInput:\n{given}" if given and given.strip() else instruction


def fields_that_differ(records: Iterable[Mapping[str, object]], instruction_field: str) -> dict[str, int]:
    """In which other fields rows differ that have one instruction.

    Where many do, the instruction is not the whole of what is asked: a text that belongs to it stands in that field.

    Args:
        records: as the user's file has them.
        instruction_field: which field holds the instruction.

    Returns:
        By the name of a field with text: in how many rows it differs from the first row with the same instruction.
    """
    firsts: dict[object, Mapping[str, object]] = {}
    differ: Counter[str] = Counter()
    for record in records:
        first = firsts.setdefault(record[instruction_field], record)
        if first is not record:
            differ.update(name for name, value in record.items() if isinstance(value, str) and value != first.get(name))
    return dict(differ.most_common())


def repeated(rows: pl.DataFrame, among: pl.Expr) -> pl.Series:
    """Which rows have the instruction of an earlier one, of those among which it is looked for.

    Earlier is what has a smaller line, in the same source; sources come in the order of their first rows.
    """
    texts = rows.select("source", "line", text=normalized_instruction("instruction"), among=among).with_row_index("row")
    ordered = (
        texts.with_columns(begins=pl.col("row").min().over("source")).sort("begins", "line").with_row_index("place")
    )
    first = pl.col("place").filter("among").min().over("text")
    return ordered.with_columns(repeated=pl.col("among") & (pl.col("place") > first)).sort("row")["repeated"]


def source_name() -> pl.Expr:
    """The source of the pool that a row is from, by its name in the recipe; a source may have several files."""
    return pl.col("source").str.split("/").list.first()
