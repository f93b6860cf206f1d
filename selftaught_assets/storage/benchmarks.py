"""Reading the benchmarks that a recipe names.

Belongs here: from a recipe's benchmark to records with the fields of its format. Not here: reading files (records.py,
hub.py) and making a table of the records (`method.benchmarks`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks.formats import FORMATS, OWN
from selftaught_assets.method.benchmarks.items import is_missing
from selftaught_assets.method.benchmarks.own import LABEL_AS_GIVEN, label_of, renamed
from selftaught_assets.storage.hub import read_hub
from selftaught_assets.storage.records import Record, read_records

if TYPE_CHECKING:
    from selftaught_assets.recipe.benchmarks import Benchmark


def read_benchmark(benchmark: "Benchmark") -> list[dict[str, Any]]:
    """All records of a benchmark, under the field names of its format.

    A record without `subset` gets what tells its file from the others of the folder, or its split from the others.

    Raises:
        UserError: it cannot be read, has no record, a record lacks a field, or two records of one's own have one id.
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
    """One's own data under our names, every record with an id; published data as it is."""
    if benchmark.format not in OWN:
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
                f"{record.file}, {record.where}: the id {values['id']!r} is on {place} already; ids must differ."
            )
        yield record._replace(values=values)
