"""One recipe's tables as the method makes them, with texts in place of models, and ways to spoil them."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.evaluation import verdict_table
from selftaught_assets.method.examples import filtered_set
from selftaught_assets.method.judging import benchmark_requests, judging_requests, judgments_table
from selftaught_assets.method.pairs import build_pairs
from selftaught_assets.method.selection import pool_rows, select_instructions
from selftaught_assets.recipe import Recipe

Tables = dict[str, pl.DataFrame]

INSTRUCTIONS = [f"Sort the numbers {n} 4 2" for n in range(40)]
POOL = [*INSTRUCTIONS, " sort  the numbers 1 4 2", "", INSTRUCTIONS[0]]
"""With a repetition in other case and spacing, an empty line of text, and an exact repetition."""

BENCHMARK = [
    {"id": "b1", "instruction": "Count", "response_a": "1", "response_b": "2", "label": "A"},
    {"id": "b2", "instruction": "Name", "response_a": "x", "response_b": "y", "label": "B"},
    {"id": "b3", "instruction": "Choose", "response_a": "x", "response_b": "y", "label": "tie"},
]


def write_recipe(folder: Path, **sections: dict[str, object]) -> Recipe:
    """A recipe on the pool and the benchmark above, written into a folder."""
    pool, benchmark = folder / "pool.jsonl", folder / "benchmark.jsonl"
    pool.write_text("".join(json.dumps({"instruction": text}) + "\n\n" for text in POOL), encoding="utf-8")
    benchmark.write_text("".join(json.dumps(row) + "\n" for row in BENCHMARK), encoding="utf-8")
    values = {
        "name": "small",
        "iterations": 2,
        "pool": {"path": pool},
        "benchmarks": [{"name": "held_out", "path": benchmark}],
        "seed_model": folder,
        "instructions": {"count": 30},
        "judgments": {"n": 3},
        "filter": {"validation_share": 0.3},
    }
    return Recipe.model_validate(values | sections)


def make_tables(recipe: Recipe) -> Tables:
    """Every table that is checked, free of faults."""
    records = [
        {"line": 2 * index + 1, "instruction": text, "source": "pool.jsonl", "category": None}
        for index, text in enumerate(POOL)
    ]
    pool = pool_rows(records)
    instructions = select_instructions(
        pool, count=30, schedule="fixed", iteration=1, seed=1, max_characters=100, categories=None
    )
    pairs = build_pairs(_written(_kept(instructions)))
    requests = judging_requests(pairs, positions=recipe.judgments.positions, seed=1)
    judgments = judgments_table(requests, _judged(requests, recipe.judgments.n), judge="digest")
    examples = filtered_set(judgments, pairs, recipe.templates, keep="correct", validation_share=0.3, seed=1)
    benchmarks = benchmark_rows("held_out", BENCHMARK)
    asked = benchmark_requests(_kept(benchmarks))
    verdicts = [
        verdict_table(asked, _completions(asked, ["[[A]]"] * n), decoding=decoding, judge="digest")
        for decoding, n in (("greedy", 1), ("vote", 4))
    ]
    return {
        "instruction_pool": pool,
        "instructions": instructions,
        "pairs": pairs,
        "judgments": judgments,
        "filtered_set": examples,
        "benchmarks": benchmarks,
        "evaluation": pl.concat(verdicts),
        "seed_evaluation": pl.concat(verdicts),
    }


def spoil(frame: pl.DataFrame, row: int, **values: str | None) -> pl.DataFrame:
    """The table with other values in one row."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, dtype=frame.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def first_kept(frame: pl.DataFrame) -> int:
    """The index of the first kept row."""
    return frame["drop_reason"].is_null().arg_max()


def without(frame: pl.DataFrame, row: int) -> pl.DataFrame:
    """The table without one row."""
    return pl.concat([frame.head(row), frame.tail(frame.height - row - 1)])


def changed(tables: Tables, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Tables:
    """The tables with one of them changed."""
    return tables | {name: change(tables[name])}


def _kept(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("drop_reason").is_null())


def _written(selected: pl.DataFrame) -> pl.DataFrame:
    """Pairs as a generator would write them, the third of them with equal responses."""
    return (
        selected.select("instruction_id", "instruction")
        .with_row_index("number")
        .with_columns(
            modified_instruction=pl.format("Sort the numbers {} 7 9", "number"),
            chosen=pl.format("2 4 {}", "number"),
            rejected=pl.when(pl.col("number") == 2).then(pl.format("2 4 {}", "number")).otherwise(pl.lit("7 9")),
            strategy=pl.lit("modified_instruction"),
            generator=pl.lit("digest"),
            chosen_finish=pl.lit("stop"),
            modified_finish=pl.lit("stop"),
            rejected_finish=pl.lit("stop"),
        )
        .drop("number")
    )


def _judged(requests: pl.DataFrame, n: int) -> pl.DataFrame:
    """Of every pair one wrong, one invalid, and otherwise right judgments."""
    texts = requests.select("request_id", right=pl.format("so [[{}]]", "chosen_position"))
    wrong = pl.when(pl.col("right") == "so [[A]]").then(pl.lit("so [[B]]")).otherwise(pl.lit("so [[A]]"))
    per_request = texts.with_columns(
        text=pl.concat_list(wrong, pl.lit("none"), *([pl.col("right")] * (n - 2))),
        sample_index=pl.lit(list(range(n))),
    )
    return per_request.explode("text", "sample_index").select(
        "request_id",
        "sample_index",
        "text",
        finish_reason=pl.lit("stop"),
        completion_tokens=pl.lit(3),
    )


def _completions(requests: pl.DataFrame, texts: list[str]) -> pl.DataFrame:
    each = pl.DataFrame({"sample_index": range(len(texts)), "text": texts})
    return requests.select("request_id").join(each, how="cross")
