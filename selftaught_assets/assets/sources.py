"""What the user brings: the pool of instructions, the seed model, the benchmarks."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, account, kept, table_output
from selftaught_assets.assets.sampling import Sampler, sampler, trainable_seed_model
from selftaught_assets.engines.journalled import GenerationTask, Tasks
from selftaught_assets.method.benchmarks import benchmark_rows, items_read
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.pool import fields_that_differ, pool_rows, source_name
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.pool import Pool, Source
from selftaught_assets.storage.inputs import read_benchmark
from selftaught_assets.storage.models import reference_model, write_pointer
from selftaught_assets.storage.pools import pool_records, read_pool
from selftaught_assets.storage.stored import VERSION_LENGTH
from selftaught_assets.storage.tables import write_table

GROUP = "sources"


def build_instruction_pool(family: Family) -> dg.AssetsDefinition:
    recipe, pool = family.recipe, family.recipe.pool

    @family.asset(group=GROUP, kinds={"polars", "parquet"}, samples=pool.is_written)
    def instruction_pool(context: dg.AssetExecutionContext) -> dg.Output[pl.DataFrame]:
        """The unlabelled instructions that the recipe names, one row per record of its sources.

        Empty texts and repetitions stay in the table, with the reason why no stage reads them.
        """
        costs: dict[str, int | float | str] = {}
        if pool.is_written:
            model = trainable_seed_model(context, family)
            with sampler(context, family, "instruction_pool", model) as writer:
                frame = pool_rows(pool_records(pool, lambda source: _written(writer, recipe, source)))
            costs = writer.costs(kept=kept(frame).height)
        else:
            frame = pool_rows(pool_records(pool))
        differ = _unread_differences(pool)
        for field, count in differ.items():
            context.log.warning(
                f"{count} of {frame.height} rows have the instruction of an earlier one and another {field!r}, which "
                f"is not read: if that text belongs to the instruction, set `pool.input_field: {field}`."
            )
        numbers = {f"repetitions_that_differ_in/{field}": count for field, count in differ.items()}
        if pool.sources:
            counted = kept(frame).group_by(source_name()).len().sort("source")
            numbers |= {f"kept_of/{name}": count for name, count in counted.iter_rows()}
        return table_output(frame, rows_in=frame.height, **numbers, **costs)

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


def _written(writer: Sampler, recipe: Recipe, source: Source) -> Iterator[dict[str, Any]]:
    """What the seed model writes in the user's place (Magpie, arXiv 2406.08464)."""
    count = source.magpie.count
    task = GenerationTask(source.label, [], n=count, seed=derive_seed(recipe.seed, "magpie", source.label))
    return writer.sample(Tasks(count, [task]), source.magpie.sampling).iter_rows(named=True)


def _unread_differences(pool: Pool) -> dict[str, int]:
    """Fields that the recipe does not read, in which at least a tenth of all rows differ from their first like.

    Of a pool with one source of single texts: conversations differ in everything else, and so do sources.
    """
    if pool.sources or pool.is_written or pool.fields.input is not None or pool.fields.is_conversation:
        return {}
    read = {pool.instruction_field, pool.id_field, pool.category_field, *pool.keep}
    records = [record.values for record in read_pool(pool)]
    differ = fields_that_differ(records, pool.instruction_field)
    return {field: count for field, count in differ.items() if field not in read and 10 * count >= len(records)}


def _numbers(name: str, records: int, frame: pl.DataFrame) -> dict[str, int]:
    """What became of one benchmark: a record can be a group of rows, and a row can be the votes of several records."""
    accounts = account(frame, frame.height)
    numbers = {"records": records, "rows": accounts.rows_in, "rows_kept": accounts.kept}
    numbers |= {f"dropped_{reason}": count for reason, count in accounts.dropped.items()}
    return {f"{name}_{number}": count for number, count in numbers.items()}
