"""Records from users and publishers: JSON Lines, JSON, Parquet, CSV, or a data set on the hub.

The benchmarks that a recipe names are read here as well.
"""

import codecs
import csv
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.input_files import LARGEST_FILE, LONGEST_LINE, MEBIBYTE, content_of, files_below, lines_of
from selftaught_assets.method.benchmarks import FORMATS
from selftaught_assets.method.benchmarks.items import is_missing, label_of
from selftaught_assets.method.benchmarks.own import LABEL_AS_GIVEN, renamed

if TYPE_CHECKING:
    from selftaught_assets.recipe.benchmarks import Benchmark


_BEGINNING = 64
"""Bytes in which UTF-16 shows: of letters of Europe every other one is zero, which no text in UTF-8 has."""

Line = tuple[int, dict[str, Any]]
"""A line's number, from 1, and its object."""


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[Line]:
    r"""Yields (line number from 1, object) for every line that is not blank.

    Lines end at "\n" only: U+2028 and its like are ordinary characters inside JSON strings. A byte order mark at the
    beginning is skipped. A file whose name ends in ".gz" is unpacked on the way.

    Raises:
        UserError: the file cannot be read or unpacked, is not UTF-8, or a line is not a JSON object, repeats a field or
            lacks a required one.
    """
    for number, raw in enumerate(lines_of(path), start=1):
        if number == 1:
            require_eight_bits(path, raw)
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip()
        if not text:
            continue
        try:
            value = json_value(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg}, column {error.colno}).") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(value).__name__}.")
        missing = [field for field in required if field not in value]
        if missing:
            raise UserError(f"{path}, line {number}: the field {missing[0]!r} is missing.")
        yield number, value


def json_value(content: bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not UTF-8 or no JSON, an object repeats a field, of which the second would replace the first,
            or a string holds half of a surrogate pair, which is no text.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # Fails on half of a surrogate pair.
    return value


def require_eight_bits(path: Path, beginning: bytes) -> None:
    """Raises UserError where a file begins as UTF-16 does, as some spreadsheets and editors save text."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in beginning[:_BEGINNING]:
        raise UserError(f"{path} is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8).")


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(fields)
    if len(values) < len(fields):
        seen: set[str] = set()
        repeated = next(name for name, _ in fields if name in seen or seen.add(name))
        raise ValueError(f"the field {repeated!r} occurs twice")
    return values


class Record(NamedTuple):
    """What one line, row or entry holds."""

    file: str
    where: str
    """Its place in the file, as a complaint names it: "line 3"."""
    part: str | None
    """What tells its file from the others of the folder, or its split from the others; None where there is one only."""
    values: dict[str, Any]

    @property
    def number(self) -> int:
        """Of its line, row or entry, from 1."""
        return int(self.where.rpartition(" ")[2])


def read_records(path: Path, required: tuple[str, ...], files: str | None = None) -> Iterator[Record]:
    """The records of a file, or of the files of a folder in the order of their names.

    Args:
        path: a file whose name ends in one of `SUFFIXES`, or a folder.
        required: fields that every record must have.
        files: pattern of the files of a folder that are read, None for all; hidden ones and other kinds never are.

    Raises:
        UserError: nothing is there to read, a file is not what its name says, or a record lacks a required field.
    """
    if not path.is_dir():
        yield from (Record(str(path), where, None, values) for where, values in _read_file(path, required))
        return
    pattern = files or "**/*"
    found = [file for file in files_below(path, pattern) if _is_readable(file.relative_to(path))]
    if not found:
        raise UserError(f"The folder {path} has no file {pattern!r} that ends in {_LISTED}.")
    for file, part in zip(found, _parts([file.relative_to(path) for file in found]), strict=True):
        yield from (Record(str(file), where, part, values) for where, values in _read_file(file, required))


_Placed = Iterator[tuple[str, dict[str, Any]]]


def _read_file(path: Path, required: tuple[str, ...]) -> _Placed:
    for suffix, read in _READERS.items():
        if path.name.endswith(suffix):
            return read(path, required)
    raise UserError(f"{path} cannot be read: its name must end in {_LISTED}.")


def _jsonl(path: Path, required: tuple[str, ...]) -> _Placed:
    return ((f"line {number}", values) for number, values in read_jsonl(path, required))


def _json(path: Path, required: tuple[str, ...]) -> _Placed:
    try:
        content = json_value(_text_bytes(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}, column {error.colno}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a JSON list of objects, found {type(content).__name__}.")
    for number, values in enumerate(content, start=1):
        place = f"entry {number}"
        if not isinstance(values, dict):
            raise UserError(f"{path}, {place}: expected a JSON object, found {type(values).__name__}.")
        missing = [field for field in required if field not in values]
        if missing:
            raise UserError(f"{path}, {place}: the field {missing[0]!r} is missing.")
        yield place, values


def _parquet(path: Path, required: tuple[str, ...]) -> _Placed:
    frame = read_parquet(path)
    _require_columns(path, frame.columns, required)
    return ((f"row {number}", row) for number, row in enumerate(frame.iter_rows(named=True), start=1))


MOST_CELLS = 20_000_000
"""Of a table; each becomes an object of Python."""


def read_parquet(path: Path) -> pl.DataFrame:
    """A table that a user brings, if its own account says that it fits into memory.

    Raises:
        UserError: it cannot be read, is no Parquet file, or is too large.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    content = content_of(path)
    try:
        said = read_metadata(io.BytesIO(content))
        unpacked = sum(said.row_group(number).total_byte_size for number in range(said.num_row_groups))
        _require_room(path, said.num_rows * said.num_columns, unpacked)
        if unpacked > LONGEST_LINE * said.num_rows:
            raise _too_long(path)
        frame = pl.read_parquet(content)
    except (pl.exceptions.PolarsError, ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
    sizes = frame.select(pl.col(pl.String).str.len_bytes(), pl.col(pl.Categorical, pl.Enum).cat.len_bytes())
    texts = sizes.select(pl.all().sum().cast(pl.Int64))
    if max((size or 0 for size in sizes.max().row(0)), default=0) > LONGEST_LINE:
        raise _too_long(path)
    _require_room(path, frame.height * frame.width, sum(texts.row(0)) if texts.width else 0)  # One may stand in many.
    return frame


def _too_long(path: Path) -> UserError:
    return UserError(f"{path} has a row or a text of more than {LONGEST_LINE // MEBIBYTE} MiB: split it.")


def _require_room(path: Path, cells: int, size: int) -> None:
    if cells > MOST_CELLS or size > LARGEST_FILE:
        raise UserError(
            f"{path} has {cells:,} cells of {size:,} bytes: at most {MOST_CELLS:,} and {LARGEST_FILE:,} are read; "
            "split it."
        )


def _csv(path: Path, required: tuple[str, ...]) -> _Placed:
    content = _text_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not valid UTF-8 ({error.reason}): save it as CSV UTF-8.") from None
    csv.field_size_limit(LONGEST_LINE)  # A response may be longer than the module's 131,072 characters.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if header is None:
                header = cells
                _require_columns(path, header, required)
            elif cells:
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                    )
                yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from None


_READERS: dict[str, Callable[[Path, tuple[str, ...]], _Placed]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".csv": _csv,
}

SUFFIXES = tuple(_READERS)
_LISTED = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def _text_bytes(path: Path) -> bytes:
    """What a file of text holds, without a byte order mark."""
    content = content_of(path)
    require_eight_bits(path, content)
    return content.removeprefix(codecs.BOM_UTF8)


def _require_columns(path: Path, columns: list[str], required: tuple[str, ...]) -> None:
    missing = [field for field in required if field not in columns]
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; it has {', '.join(columns) or 'none'}.")
    if len(set(columns)) < len(columns):
        raise UserError(f"{path}: two columns have the same name; it has {', '.join(columns)}.")


def _is_readable(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.parts)


def _parts(paths: list[Path]) -> list[str | None]:
    """The part of each path in which the files differ: their folders where all have one name, else path and name."""
    if len(paths) == 1:
        return [None]
    stems = [path.with_name(path.name.split(".")[0]) for path in paths]
    same_name = len({stem.name for stem in stems}) == 1
    return [(stem.parent if same_name else stem).as_posix() for stem in stems]


PATIENCE_SECONDS = 5.0
"""How long the hub may take to answer at all; `datasets` by itself tries for half a minute."""


def read_hub(
    name: str, required: tuple[str, ...], *, config: str | None, split: str | None, data_dir: str | None
) -> Iterator[Record]:
    """The rows of a data set, split by split.

    It is read over the network once; after that from the cache of `datasets`. With `HF_HUB_OFFLINE=1` only the cache is
    asked.

    Args:
        name: owner and name, "allenai/reward-bench".
        required: columns that it must have.
        config: one of several configurations of the data set; None is its default.
        split: one split; None reads all of them.
        data_dir: folder within the data set's repository; None is the data set's default.

    Raises:
        UserError: the hub cannot be reached, there is no such data set, configuration or split, or a column is missing.
    """
    import datasets

    if not datasets.config.HF_HUB_OFFLINE:
        _require_answer(datasets.config.HF_ENDPOINT, name)
    try:
        loaded = datasets.load_dataset(name, config, split=split, data_dir=data_dir)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The data set {name} cannot be read from the hub ({reason}): {_INSTEAD}.") from None
    splits = {None: loaded} if split is not None else dict(loaded)
    for part, rows in splits.items():
        missing = [field for field in required if field not in rows.column_names]
        if missing:
            raise UserError(
                f"The data set {name}: the column {missing[0]!r} is missing; it has {', '.join(rows.column_names)}."
            )
        for number, row in enumerate(rows, start=1):
            yield Record(f"{name}, split {part or split}", f"row {number}", part if len(splits) > 1 else None, row)


_INSTEAD = "download it on a machine with a network and give its file or folder as `path`, not `hub`"


def _require_answer(hub: str, name: str) -> None:
    """One short request: whatever the hub answers, it is there."""
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=PATIENCE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        cached = "set HF_HUB_OFFLINE=1 if it has been read here before"
        raise UserError(f"The hub {hub} cannot be reached for {name} ({reason}): {_INSTEAD}, or {cached}.") from None


def read_benchmark(benchmark: "Benchmark") -> list[dict[str, Any]]:
    """All records of a benchmark, under the field names of its format.

    A record without `subset` gets what tells its file from the others of the folder, or its split from the others.

    Raises:
        UserError: it cannot be read, has no record, a record lacks a field, or two records of your own data have the
        same id.
    """
    read = _read(benchmark)
    records = [{"subset": record.part, **record.values} for record in _in_own_names(benchmark, read)]
    if not records:
        raise UserError(f"The benchmark {benchmark.source} is empty.")
    return records


def _read(benchmark: "Benchmark") -> Iterator[Record]:
    mapped = benchmark.columns
    fields = [field for field in FORMATS[benchmark.format].fields if field != "id" or not benchmark.is_numbered]
    required = tuple(dict.fromkeys([*(mapped.get(field, field) for field in fields), *mapped.values()]))
    if benchmark.path is not None:
        return read_records(benchmark.path, required, benchmark.files)
    return read_hub(
        benchmark.hub, required, config=benchmark.config, split=benchmark.split, data_dir=benchmark.data_dir
    )


def _in_own_names(benchmark: "Benchmark", records: Iterator[Record]) -> Iterator[Record]:
    """Your own data under our names, every record with an id; published data as it is."""
    if not FORMATS[benchmark.format].is_own:
        yield from records
        return
    firsts: dict[str, Record] = {}
    for number, record in enumerate(records, start=1):
        values = renamed(record.values, benchmark.columns)
        if benchmark.labels is not None:
            values[LABEL_AS_GIVEN] = values["label"]
            values["label"] = label_of(values["label"], benchmark.labels.model_dump(exclude_none=True))
        if benchmark.is_numbered:
            values["id"] = number
        if is_missing(values["id"]):
            raise UserError(
                f"{record.file}, {record.where}: the id is missing; set `fields: {{id: null}}` of the benchmark if "
                "there are no ids."
            )
        first = firsts.setdefault(str(values["id"]), record)
        if first is not record:
            place = first.where if first.file == record.file else f"{first.where} of {first.file}"
            raise UserError(
                f"{record.file}, {record.where}: the id {values['id']!r} is already on {place}; ids must differ."
            )
        yield record._replace(values=values)
