"""The asset `progress`: every judge so far in one table, and the collecting of what it shows."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import SECONDS, Family, kept, table_output
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.results import Measured, ResultRow, result_rows
from selftaught_assets.storage.tables import read_table

STAGES = ("instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint", "evaluation")
"""Assets of an iteration; its time is the sum of theirs."""


def build_progress(family: Family) -> dg.AssetsDefinition:
    @family.asset(
        group="evaluation",
        kinds={"polars", "parquet"},
        sections=("benchmarks", "evaluation"),
        deps=("seed_evaluation", "evaluation"),
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
    layout = family.layout
    seed = read_table(layout.table("seed_evaluation"))
    if seed is None:
        raise UserError(f"Recipe {family.recipe.name} has no results yet: run it first (selftaught run).")
    judges = [Measured("seed", _on(seed, benchmark), None, None, None)]
    for number in range(1, family.recipe.iterations + 1):
        key = iteration_key(number)
        evaluation = read_table(layout.table("evaluation", key))
        pairs, examples = read_table(layout.table("pairs", key)), read_table(layout.table("filtered_set", key))
        if evaluation is None or pairs is None or examples is None:
            continue
        trained_on = kept(examples).filter(pl.col("split") == "train").height
        seconds = _seconds(instance, family, key)
        judges.append(Measured(key, _on(evaluation, benchmark), kept(pairs).height, trained_on, seconds))
    try:
        return result_rows(judges)
    except ValueError as error:
        raise UserError(f"{error} Materialize `seed_evaluation` and `evaluation` again.") from None


def _on(evaluation: pl.DataFrame, benchmark: str) -> pl.DataFrame:
    return evaluation.filter(pl.col("benchmark") == benchmark)


def _seconds(instance: dg.DagsterInstance, family: Family, iteration: str) -> float | None:
    made = [newest_materialization(instance, family.key(stage), iteration) for stage in STAGES]
    spent = [record.metadata[SECONDS].value for record in made if record and SECONDS in record.metadata]
    return round(sum(spent), 1) if spent else None


def _flat(row: ResultRow) -> dict[str, object]:
    low, high = row["interval"]
    ((votes, vote_accuracy),) = row["vote_accuracy"].items()
    rest = {name: value for name, value in row.items() if name not in ("interval", "vote_accuracy")}
    return {**rest, "accuracy_low": low, "accuracy_high": high, "votes": int(votes), "vote_accuracy": vote_accuracy}


def _markdown(rows: list[dict[str, object]]) -> str:
    lines = ["| benchmark | judge | accuracy | 95 % interval | vote | p vs seed | n |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        p_value = "" if row["p_vs_seed"] is None else f"{row['p_vs_seed']:.2g}"
        lines.append(
            f"| {row['benchmark']} | {row['judge']} | {row['accuracy']:.1%} | {row['accuracy_low']:.1%} to "
            f"{row['accuracy_high']:.1%} | {row['vote_accuracy']:.1%} | {p_value} | {row['n']} |"
        )
    return "\n".join(lines)
