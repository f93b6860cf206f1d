"""The records of the pool, source by source, and what of each is the instruction."""

import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks.items import is_missing
from selftaught_assets.method.pool import first_request, is_kept, with_input
from selftaught_assets.storage.inputs import Record, read_hub, read_records

if TYPE_CHECKING:
    from selftaught_assets.recipe.pool import Pool, Source


class PoolRecord(NamedTuple):
    """A record and where it stands: no two records of a pool have the same `source` and `line`."""

    source: str
    """The source's name, or its file's where the pool is one source; with what tells its files apart, if it has
    several: "chats/train-2"."""
    line: int
    """Its number in the file, from 1: of a line, a row or an entry."""
    place: str
    """As a complaint names it."""
    origin: "Source"
    values: dict[str, Any]


Write = Callable[["Source"], Iterable[dict[str, Any]]]
"""What a model wrote for a source with `magpie`: text and finish_reason, in the order of the sample indices."""


def read_pool(pool: "Pool", write: Write | None = None) -> Iterator[PoolRecord]:
    """All records of all sources, in their order.

    Args:
        pool: of the recipe.
        write: gives what a model wrote; without it, such records have a place and no values.

    Raises:
        UserError: a source is empty, cannot be read, or lacks a field that the recipe names.
    """
    for source in pool.every:
        named, count = source.label, 0
        if source.magpie is not None:
            texts = ({} for _ in range(source.magpie.count)) if write is None else write(source)
            for count, values in enumerate(texts, start=1):
                yield PoolRecord(named, count, f"{named}, text {count}", source, values)
            continue
        for record in _records(source):
            count += 1
            whole = named if record.part is None else f"{named}/{record.part}"
            yield PoolRecord(whole, record.number, f"{record.file}, {record.where}", source, record.values)
        if not count:
            field = source.fields.instruction
            raise UserError(f"The pool {source.place} is empty: it needs at least one record with {field!r}.")


def pool_records(pool: "Pool", write: Write | None = None) -> Iterator[dict[str, object]]:
    """What `method.pool.pool_rows` takes, of each record.

    Args:
        pool: of the recipe.
        write: gives what a model wrote, if it is to write.

    Raises:
        UserError: as `read_pool`; or an instruction is no text, an id is missing, or occurs twice in its source.
    """
    places: dict[tuple[int, str], str] = {}
    for record in read_pool(pool, write):
        fields, values = record.origin.fields, record.values
        pool_id = None if fields.id is None else _id(record, fields.id)
        first = record.place if pool_id is None else places.setdefault((id(record.origin), pool_id), record.place)
        if first != record.place:
            raise UserError(
                f"{record.place}: the {fields.id} {values[fields.id]!r} is already in {first}; ids must differ."
            )
        category = None if record.origin.category_field is None else values[record.origin.category_field]
        yield {
            "line": record.line,
            "pool_id": pool_id,
            "source": record.source,
            "category": None if is_missing(category) else str(category),
        } | _instruction(record)


def _records(source: "Source") -> Iterator[Record]:
    fields = source.fields
    required = tuple(
        field
        for field in (fields.instruction, source.input_field, fields.id, source.category_field, *source.keep)
        if field is not None
    )
    if source.path is not None:
        return read_records(source.path, required, source.files)
    return read_hub(source.hub, required, config=source.config, split=source.split, data_dir=source.data_dir)


def _instruction(record: PoolRecord) -> dict[str, str | None]:
    """The instruction, or why the record is dropped."""
    fields, values = record.origin.fields, record.values
    if record.origin.magpie is not None:
        ended = {"stop": None, "length": "truncated"}.get(values["finish_reason"], "failed")
        return {"instruction": values["text"].strip(), "drop_reason": ended}
    if not is_kept(values, record.origin.keep):
        return {"drop_reason": "filtered"}
    if not fields.is_conversation:
        instruction = _text(record, fields.instruction)
        given = values.get(fields.input) if fields.input else None
        return {"instruction": instruction if given is None else with_input(instruction, _text(record, fields.input))}
    try:
        instruction = first_request(values[fields.instruction])
    except TypeError:
        shown = reprlib.repr(values[fields.instruction])
        raise UserError(f"{record.place}: {fields.instruction!r} must be a list of turns, not {shown}.") from None
    return {"drop_reason": "no_instruction"} if instruction is None else {"instruction": instruction}


def _text(record: PoolRecord, field: str) -> str:
    if not isinstance(record.values[field], str):
        raise UserError(f"{record.place}: {field!r} must be text, not {reprlib.repr(record.values[field])}.")
    return record.values[field]


def _id(record: PoolRecord, field: str) -> str:
    if is_missing(record.values[field]):
        raise UserError(f"{record.place}: the {field} is missing; leave `id_field` out if there are no ids.")
    return str(record.values[field])
