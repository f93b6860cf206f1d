"""What the user brings: the pool of instructions, the seed model, the benchmarks."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, account, table_output
from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks import benchmark_rows, items_read
from selftaught_assets.method.benchmarks.items import is_missing
from selftaught_assets.method.instructions import fields_that_differ, pool_rows, with_input
from selftaught_assets.recipe.stages import Pool
from selftaught_assets.storage.inputs import Line, read_benchmark, read_jsonl
from selftaught_assets.storage.models import reference_model, write_pointer
from selftaught_assets.storage.stored import VERSION_LENGTH
from selftaught_assets.storage.tables import write_table

GROUP = "sources"


def build_instruction_pool(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds={"polars", "parquet"})
    def instruction_pool(context: dg.AssetExecutionContext) -> dg.Output[pl.DataFrame]:
        """The unlabelled instructions that the recipe names, one row per line of the file.

        Empty texts and repetitions stay in the table, with the reason why no stage reads them.
        """
        pool = family.recipe.pool
        lines = list(_pool_lines(pool))
        if not lines:
            raise UserError(
                f"The pool {pool.path} is empty: it needs at least one line with {pool.instruction_field!r}."
            )
        frame = pool_rows(_pool_record(pool, number, line) for number, line in lines)
        differ = _unread_differences(pool, [line for _, line in lines])
        for field, count in differ.items():
            context.log.warning(
                f"{count} of {frame.height} rows have the instruction of an earlier one and another {field!r}, which "
                f"is not read: if that text belongs to the instruction, set `pool.input_field: {field}`."
            )
        numbers = {f"repetitions_that_differ_in/{field}": count for field, count in differ.items()}
        return table_output(frame, rows_in=frame.height, **numbers)

    return instruction_pool


def build_benchmarks(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds={"polars", "parquet"})
    def benchmarks() -> dg.Output[pl.DataFrame]:
        """The labelled pairs on which judges are measured; never used for training or tuning."""
        frames, items, numbers = [], [], {}
        for benchmark in family.recipe.benchmarks:
            records = read_benchmark(benchmark)
            frame = benchmark_rows(
                benchmark.name, records, benchmark.format, ties=benchmark.ties, sample=benchmark.sample
            )
            frames.append(frame)
            items.append(items_read(benchmark.name, records, benchmark.format))
            numbers |= _numbers(benchmark.name, len(records), frame)
        write_table(family.layout.benchmark_items, pl.concat(items))  # Checks are not to read the sources again.
        frame = pl.concat(frames)
        return table_output(frame, rows_in=frame.height, **numbers)

    return benchmarks


def build_seed_model(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds={"huggingface"})
    def seed_model() -> dg.MaterializeResult:
        """The instruction-tuned model that everything starts from: it writes the pairs and is the first judge."""
        basis = family.basis("seed_model", None)
        model = reference_model(family.recipe.seed_model)
        write_pointer(family.layout.seed_model, model, root=family.layout.root, basis=basis)
        return dg.MaterializeResult(
            metadata={"judge_digest": model.digest, "path": dg.MetadataValue.path(model.base)},
            data_version=dg.DataVersion(model.digest[:VERSION_LENGTH]),
        )

    return seed_model


def _pool_lines(pool: Pool) -> Iterator[Line]:
    fields = (pool.instruction_field, pool.input_field, pool.id_field, pool.category_field)
    lines = read_jsonl(pool.path, tuple(field for field in fields if field is not None))
    return lines if pool.id_field is None else _with_unique_ids(pool.path, pool.id_field, lines)


def _pool_record(pool: Pool, number: int, line: dict[str, Any]) -> dict[str, object]:
    def text(field: str) -> str:
        if not isinstance(line[field], str):
            raise UserError(f"{pool.path}, line {number}: {field!r} must be text, not {reprlib.repr(line[field])}.")
        return line[field]

    instruction = text(pool.instruction_field)
    if pool.input_field is not None and line[pool.input_field] is not None:
        instruction = with_input(instruction, text(pool.input_field))
    category = None if pool.category_field is None else line[pool.category_field]
    return {
        "line": number,
        "pool_id": None if pool.id_field is None else str(line[pool.id_field]),
        "instruction": instruction,
        "source": pool.path.name,
        "category": None if is_missing(category) else str(category),
    }


def _unread_differences(pool: Pool, lines: Sequence[Mapping[str, object]]) -> dict[str, int]:
    """Fields that the recipe does not read, in which at least a tenth of all rows differ from their first like."""
    read = {pool.instruction_field, pool.input_field, pool.id_field, pool.category_field}
    if pool.input_field is not None:
        return {}
    differ = fields_that_differ(lines, pool.instruction_field)
    return {field: count for field, count in differ.items() if field not in read and 10 * count >= len(lines)}


def _numbers(name: str, records: int, frame: pl.DataFrame) -> dict[str, int]:
    """What became of one benchmark: a record can be a group of rows, and a row can be the votes of several records."""
    accounts = account(frame, frame.height)
    numbers = {"records": records, "rows": accounts.rows_in, "rows_kept": accounts.kept}
    numbers |= {f"dropped_{reason}": count for reason, count in accounts.dropped.items()}
    return {f"{name}_{number}": count for number, count in numbers.items()}


def _with_unique_ids(path: Path, field: str, lines: Iterable[Line]) -> Iterator[Line]:
    first_lines: dict[str, int] = {}
    for number, line in lines:
        if is_missing(line[field]):
            raise UserError(f"{path}, line {number}: the {field} is missing; leave `id_field` out if there are no ids.")
        first = first_lines.setdefault(str(line[field]), number)
        if first != number:
            raise UserError(
                f"{path}, line {number}: the {field} {line[field]!r} is already on line {first}; ids must differ."
            )
        yield number, line
