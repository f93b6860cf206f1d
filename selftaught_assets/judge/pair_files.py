"""Pairs from a file, verdicts into a file: JSONL, Parquet or CSV; a row that cannot be judged keeps its place."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.input_files import LONGEST_LINE, bounded_lines, content_of, lines_of
from selftaught_assets.judge.answers import OPTIONAL_TEXTS, text_problem
from selftaught_assets.judge.judge import JUDGMENTS_DTYPE, PAIR_FIELDS, VERDICT_SCHEMA
from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.inputs import json_value, read_parquet, require_eight_bits

STANDARD = Path("-")
SUFFIXES = (".jsonl", ".parquet", ".csv")


class Row(NamedTuple):
    """One line of the input."""

    number: int
    """Of the line in the file, from 1; of the row, in a Parquet file."""
    fields: dict[str, Any]
    """All that the line holds; empty where it cannot be read."""
    error: str | None
    """What is wrong with it."""


class Pairs(NamedTuple):
    """What a file holds."""

    rows: list[Row]
    table: pl.DataFrame | None
    """The whole table, where the file is Parquet: its types are kept on the way to Parquet."""

    def texts(self) -> pl.DataFrame:
        """Instruction and responses of all rows, and the optional texts; nulls where something is wrong."""
        names = (*PAIR_FIELDS, *OPTIONAL_TEXTS)
        columns = {name: [None if row.error else row.fields.get(name) for row in self.rows] for name in names}
        return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))


def require_suffix(path: Path) -> None:
    """Raises UserError where the name does not say what kind of file it is."""
    if path != STANDARD and path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, or be - (JSONL).")


def read_pairs(path: Path) -> Pairs:
    """Reads pairs; a line that cannot be judged is a row with an error.

    Args:
        path: a file whose suffix says what it is, or `-` for JSONL from standard input.

    Raises:
        UserError: the file cannot be read at all, is empty, or has no column for a field.
    """
    require_suffix(path)
    if path == STANDARD:
        pairs = Pairs(list(_jsonl_rows(bounded_lines(sys.stdin.buffer, "Standard input"))), None)
    elif path.suffix.lower() == ".parquet":
        pairs = _parquet_pairs(path)
    elif path.suffix.lower() == ".jsonl":
        pairs = Pairs(list(_jsonl_rows(_lines(path))), None)
    else:
        content = content_of(path)
        require_eight_bits(path, content)
        try:
            pairs = Pairs(list(_csv_rows(path, io.BytesIO(content))), None)
        except csv.Error as error:
            raise UserError(f"{path} is not valid CSV ({error}).") from None
    if not pairs.rows:
        raise UserError(f"{path} holds no pairs.")
    return pairs


def write_verdicts(path: Path, pairs: Pairs, verdicts: pl.DataFrame) -> None:
    """Writes every row with its verdict, in order, whole or not at all; `-` is JSONL on standard output.

    Args:
        path: its suffix says what kind of file is written.
        pairs: as they were read.
        verdicts: columns of `VERDICT_SCHEMA`, and judgments where wanted; one row for each pair.

    Raises:
        UserError: a field of the input has the name of a column of the verdicts, or the disk is full.
    """
    if path == STANDARD:
        _write_jsonl(sys.stdout.buffer, pairs, verdicts)
        sys.stdout.buffer.flush()
        return
    with written_aside(path) as aside, aside.open("wb") as file:
        if path.suffix.lower() == ".jsonl":
            _write_jsonl(file, pairs, verdicts)
        elif path.suffix.lower() == ".csv":
            _write_csv(file, pairs, verdicts)
        else:
            content = io.BytesIO()
            _table(pairs, verdicts).write_parquet(content)
            file.write(content.getbuffer())


def require_no_clash(pairs: Pairs, *, judgments: bool) -> None:
    """Raises UserError where a field of the input would be replaced by a verdict's."""
    added = {*VERDICT_SCHEMA, *(["judgments"] if judgments else [])}
    for row in pairs.rows:
        if clash := sorted(added & row.fields.keys()):
            raise UserError(f"Line {row.number} has a field {clash[0]!r} already, which the verdicts need: rename it.")


def _lines(path: Path) -> Iterator[bytes]:
    for number, line in enumerate(lines_of(path)):
        if number == 0:
            require_eight_bits(path, line)
        yield line


def _jsonl_rows(lines: Iterable[bytes]) -> Iterable[Row]:
    r"""Lines end at "\n" only; blank ones are no rows."""
    for number, raw in enumerate(lines, start=1):
        line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip()
        if not line:
            continue
        try:
            value = json_value(line)
        except json.JSONDecodeError as error:
            yield Row(number, {}, f"not valid JSON ({error.msg}, column {error.colno})")
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not valid JSON ({error})")
        else:
            if isinstance(value, dict):
                yield Row(number, value, _problem(value))
            else:
                yield Row(number, {}, f"expected a JSON object, found {type(value).__name__}")


def _csv_rows(path: Path, file: BinaryIO) -> Iterable[Row]:
    csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text)
    header = next(reader, None)
    if header is None:
        return
    if not all(map(_is_utf8, header)):
        raise UserError(f"{path}, line 1: not valid UTF-8: save it as CSV UTF-8.")
    _require_fields(path, header)
    begins = reader.line_num + 1
    for cells in reader:
        number, begins = begins, reader.line_num + 1
        if not cells:
            continue
        fields = dict(zip(header, cells, strict=False))
        if not all(map(_is_utf8, cells)):
            fields, error = {}, "not valid UTF-8"
        elif len(cells) != len(header):
            error = f"{len(cells)} fields, the header has {len(header)}"
        else:
            error = _problem(fields)
        yield Row(number, fields, error)


def _is_utf8(cell: str) -> bool:
    """Whether no byte of a cell had to be escaped."""
    return not any("\udc80" <= character <= "\udcff" for character in cell)


def _parquet_pairs(path: Path) -> Pairs:
    table = read_parquet(path)
    _require_fields(path, table.columns)
    return Pairs(
        [Row(number, fields, _problem(fields)) for number, fields in enumerate(table.iter_rows(named=True), start=1)],
        table,
    )


def _require_fields(path: Path, columns: Sequence[str]) -> None:
    for name in PAIR_FIELDS:
        if name not in columns:
            raise UserError(f"{path} has no column {name!r}; it has {', '.join(columns)}.")
    seen: set[str] = set()
    if repeated := next((name for name in columns if name in seen or seen.add(name)), None):
        raise UserError(f"{path} has two columns {repeated!r}: rename one.")


def _problem(fields: dict[str, Any]) -> str | None:
    for name in PAIR_FIELDS:
        if name not in fields:
            return f"the field {name!r} is missing"
        if problem := text_problem(name, fields[name]):
            return problem
    given = {name: fields[name] for name in OPTIONAL_TEXTS if fields.get(name) not in (None, "")}
    return next((problem for name, text in given.items() if (problem := text_problem(name, text))), None)


def _records(pairs: Pairs, verdicts: pl.DataFrame) -> Iterable[dict[str, Any]]:
    for row, verdict in zip(pairs.rows, verdicts.iter_rows(named=True), strict=True):
        yield row.fields | ({} if row.fields else {"line": row.number}) | verdict


def _write_jsonl(file: BinaryIO, pairs: Pairs, verdicts: pl.DataFrame) -> None:
    for record in _records(pairs, verdicts):
        file.write(_json(record).encode("utf-8") + b"\n")


def _write_csv(file: BinaryIO, pairs: Pairs, verdicts: pl.DataFrame) -> None:
    records = list(_records(pairs, verdicts))
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, _names(records), restval="", lineterminator="\r\n")  # "\r\n": both are quoted then.
    writer.writeheader()
    for record in records:
        writer.writerow({name: _cell(value) for name, value in record.items()})
    text.detach()


def _table(pairs: Pairs, verdicts: pl.DataFrame) -> pl.DataFrame:
    if pairs.table is not None:
        return pairs.table.hstack(verdicts)
    records = list(_records(pairs, verdicts))
    typed = {**VERDICT_SCHEMA, "judgments": JUDGMENTS_DTYPE}
    return pl.DataFrame(
        [
            pl.Series(name, [record.get(name) for record in records], dtype=typed[name])
            if name in typed
            else _column(name, [record.get(name) for record in records])
            for name in _names(records)
        ]
    )


def _column(name: str, values: list[Any]) -> pl.Series:
    """The values as they are where all are of one kind; else as text, with JSON for what is no text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        try:
            return pl.Series(name, values)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            pass  # An integer beyond 64 bits.
    return pl.Series(name, [None if value is None else _cell(value) for value in values], dtype=pl.String)


def _names(records: Iterable[dict[str, Any]]) -> list[str]:
    """All fields, those of the input first."""
    seen = dict.fromkeys(name for record in records for name in record)
    added = {*VERDICT_SCHEMA, "judgments"}
    return sorted(seen, key=lambda name: name in added)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
