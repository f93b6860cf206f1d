"""The asset `progress`: every judge so far in one table, and the collecting of what it shows."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.evaluation import SEED, on_benchmark, read_verdicts
from selftaught_assets.assets.family import SECONDS, Family, table_output
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.costs import ACCOUNT, Account
from selftaught_assets.method.scoring.results import Measured, ResultRow, flat_numbers, result_rows
from selftaught_assets.staleness import ITERATION
from selftaught_assets.storage.tables import count_rows

SAMPLING_STAGES = ("pairs", "judgments", "evaluation")


def build_progress(family: Family) -> dg.AssetsDefinition:
    @family.asset(
        group="evaluation",
        kinds={"polars", "parquet"},
        shows_so_far=True,
    )
    def progress(context: dg.AssetExecutionContext) -> dg.Output[pl.DataFrame]:
        """The learning curve: seed and iterations on every benchmark, with intervals and paired tests."""
        names = [benchmark.name for benchmark in family.recipe.benchmarks]
        rows = [
            {"benchmark": name, **_flat(row)}
            for name in names
            for row in collect_results(context.instance, family, name)
        ]
        return table_output(
            pl.DataFrame(rows, infer_schema_length=None), rows_in=len(rows), table=dg.MetadataValue.md(_markdown(rows))
        )

    return progress


def collect_results(instance: dg.DagsterInstance, family: Family, benchmark: str) -> list[ResultRow]:
    """The results of the seed and of every evaluated iteration on one benchmark.

    Raises:
        UserError: nothing is evaluated yet, or judges were measured on different pairs.
    """
    form = next(known.format for known in family.recipe.benchmarks if known.name == benchmark)
    seed = on_benchmark(read_verdicts(family, SEED), benchmark)
    if seed is None:
        raise UserError(f"Recipe {family.recipe.name} has no results yet: run it first (selftaught run).")
    judges = [Measured(SEED, seed, None, None, None, _costs(instance, family, {"evaluation": "seed_evaluation"}, None))]
    for number in range(1, family.recipe.iterations + 1):
        key = iteration_key(number)
        evaluation = on_benchmark(read_verdicts(family, key), benchmark)
        is_kept = pl.col("drop_reason").is_null()
        pairs = count_rows(family.layout.table("pairs", key), is_kept)
        trained_on = count_rows(family.layout.table("filtered_set", key), is_kept, pl.col("split") == "train")
        if evaluation is None or pairs is None or trained_on is None:
            continue
        seconds = _seconds(instance, family, key)
        costs = _costs(instance, family, {stage: stage for stage in SAMPLING_STAGES}, key)
        judges.append(Measured(key, evaluation, pairs, trained_on, seconds, costs))
    try:
        return result_rows(judges, form)
    except ValueError as error:
        raise UserError(f"{error} Materialize `seed_evaluation` and `evaluation` again.") from None


def usable_pairs(family: Family, benchmark: str) -> int | None:
    """Pairs of a benchmark that can be scored, with those that its sample leaves out; None for held-out pairs."""
    scored = pl.col("drop_reason").is_null() | (pl.col("drop_reason") == "not_sampled")
    usable = count_rows(family.layout.table("benchmarks"), pl.col("benchmark") == benchmark, scored)
    return usable or None


def _seconds(instance: dg.DagsterInstance, family: Family, iteration: str) -> float | None:
    made = [newest_materialization(instance, family.key(stage), iteration) for stage in ITERATION]
    spent = [record.metadata[SECONDS].value for record in made if record and SECONDS in record.metadata]
    return round(sum(spent), 1) if spent else None


def _costs(
    instance: dg.DagsterInstance, family: Family, assets: dict[str, str], iteration: str | None
) -> dict[str, Account]:
    """The accounts of stages, each from the newest materialization of its asset."""
    made = {stage: newest_materialization(instance, family.key(asset), iteration) for stage, asset in assets.items()}
    return {
        stage: {name: record.metadata[name].value for name in ACCOUNT if name in record.metadata}
        for stage, record in made.items()
        if record is not None
    }


def _flat(row: ResultRow) -> dict[str, object]:
    numbers = {name: number for name, number in flat_numbers(row).items() if not name.startswith("subset/")}
    (votes,) = row["vote_accuracy"]
    return {"judge": row["judge"], "digest": row["digest"], "votes": int(votes), **numbers}


def _markdown(rows: list[dict[str, object]]) -> str:
    """The learning curve as a page; intervals are clustered by instruction."""
    lines = [
        "| benchmark | judge | accuracy | 95 % interval | both orders | vote | p vs seed | p vs previous | pairs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    elicits = any("elicited_share" in row for row in rows)
    if elicits:
        lines = [
            f"{line}{more}" for line, more in zip(lines, (" elicited | without elicited |", "---|---|"), strict=True)
        ]
    for row in rows:
        p_values = [
            f"{row[name]:.2g}" if name in row else "" for name in ("p_vs_seed_clustered", "p_vs_previous_clustered")
        ]
        lines.append(
            f"| {row['benchmark']} | {row['judge']} | {row['accuracy']:.1%} | {row['accuracy_clustered_low']:.1%} to "
            f"{row['accuracy_clustered_high']:.1%} | {row['position_consistent']:.1%} | {row['vote_accuracy']:.1%} | "
            f"{' | '.join(p_values)} | {row['items']} |"
            + (f" {row['elicited_share']:.1%} | {row['accuracy_without_elicited']:.1%} |" if elicits else "")
        )
    return "\n".join(lines)
