"""One recipe's tables as the method makes them, with texts in place of models, and ways to spoil them.

The texts differ from row to row, as those of a model do: what is alike in them all would be a fault.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.instructions import select_instructions
from selftaught_assets.method.judging import benchmark_requests, judging_requests, judgments_table, until_settled
from selftaught_assets.method.pairs import build_pairs
from selftaught_assets.method.pool import pool_rows
from selftaught_assets.method.scoring.accuracy import verdict_table
from selftaught_assets.method.scoring.held_out import held_out_items
from selftaught_assets.method.training_set import filtered_set
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.conftest import ROOT

Tables = dict[str, pl.DataFrame]

# fmt: off
WORDS = [
    "apple", "river", "stone", "cloud", "paper", "light", "music", "garden", "winter", "bridge", "copper", "window",
    "market", "thunder", "pepper", "silver", "orange", "meadow", "lantern", "harbour", "engine", "violin", "feather",
    "island", "mirror", "castle", "pencil", "saddle", "ribbon", "candle",
]
# fmt: on


def words(key: str, count: int) -> str:
    """So many words, always the same for one key."""
    return " ".join(random.Random(key).choices(WORDS, k=count))


INSTRUCTIONS = [f"Write about {words(f'instruction {n}', 9)}" for n in range(40)]
POOL = [*INSTRUCTIONS, INSTRUCTIONS[1].upper().replace(" ", "  "), "", INSTRUCTIONS[0]]
"""With a repetition in other case and spacing, an empty line of text, and an exact repetition."""

LONG_INSTRUCTION = f"Count the words: {words('benchmark', 24)}"
CATEGORIES = ("count", "list", "sort")

BENCHMARK = [
    {"id": "b1", "instruction": LONG_INSTRUCTION, "response_a": "1", "response_b": "2", "label": "A"},
    {"id": "b2", "instruction": "Name", "response_a": "x", "response_b": "y", "label": "B"},
    {"id": "b3", "instruction": "Order", "response_a": "1 2", "response_b": "2 1", "label": "A"},
    {"id": "b4", "instruction": "Spell", "response_a": "catt", "response_b": "cat", "label": "B"},
    {"id": "b5", "instruction": "Add", "response_a": "3", "response_b": "4", "label": "A"},
    {"id": "b6", "instruction": "Double", "response_a": "5", "response_b": "6", "label": "B"},
    {"id": "b7", "instruction": "Choose", "response_a": "x", "response_b": "y", "label": "tie"},
]


def write_recipe(folder: Path, **sections: dict[str, object]) -> Recipe:
    """A recipe on the pool and the benchmark above, written into a folder."""
    pool, benchmark = folder / "pool.jsonl", folder / "benchmark.jsonl"
    pool.write_text(
        "".join(
            json.dumps({"instruction": text, "category": category_of(line)}) + "\n\n" for line, text in enumerate(POOL)
        ),
        encoding="utf-8",
    )
    benchmark.write_text("".join(json.dumps(row) + "\n" for row in BENCHMARK), encoding="utf-8")
    values = {
        "name": "small",
        "iterations": 2,
        "pool": {"path": pool, "category_field": "category"},
        "benchmarks": [{"name": "labelled", "path": benchmark}],
        "seed_model": ROOT / "models" / "seed",
        "instructions": {"count": 30},
        "judgments": {"n": 3},
        "filter": {"validation_share": 0.3},
        "checks": {"min_train_examples": 5, "max_category_share": 0.5},
    }
    return Recipe.model_validate(values | sections)


def make_tables(recipe: Recipe) -> Tables:
    """Every table that is checked, free of faults."""
    records = [
        {"line": 2 * index + 1, "instruction": text, "source": "pool.jsonl", "category": category_of(index)}
        for index, text in enumerate(POOL)
    ]
    pool = pool_rows(records)
    instructions = select_instructions(
        pool, count=30, schedule="fixed", iteration=1, seed=1, max_characters=100, categories=None
    )
    pairs = build_pairs(_written(_kept(instructions)))
    requests = judging_requests(pairs, positions=recipe.judgments.positions, seed=1)
    judgments = judgments_table(requests, _judged(requests, recipe.judgments.n), judge="digest")
    if recipe.stops_when_right:
        judgments = until_settled(judgments)
    examples = filtered_set(judgments, pairs, recipe.templates, keep="correct", validation_share=0.3, seed=1)
    benchmarks = benchmark_rows("labelled", BENCHMARK)
    asked = benchmark_requests(_kept(benchmarks))
    verdicts = [
        verdict_table(asked, _right(asked, n), decoding=decoding, judge="digest")
        for decoding, n in (("greedy", 1), ("vote", 4))
    ]
    synthetic = benchmark_requests(held_out_items(pairs, validation_share=0.3, seed=1))
    held_out = verdict_table(synthetic, _right(synthetic, 1), decoding="greedy", judge="digest")
    return {
        "instruction_pool": pool,
        "instructions": instructions,
        "pairs": pairs,
        "judgments": judgments,
        "filtered_set": examples,
        "benchmarks": benchmarks,
        "evaluation": pl.concat([*verdicts, held_out]),
        "seed_evaluation": pl.concat(verdicts),
    }


def category_of(line: int) -> str:
    """The category of a line of the pool."""
    return CATEGORIES[line % len(CATEGORIES)]


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
    pairs = selected.select("instruction_id", "instruction").with_columns(
        modified_instruction=pl.col("instruction").str.replace(r"(\w+) (\w+) (\w+)$", "cedar, pebble and tulip"),
        chosen=_texts("chosen", selected["instruction_id"]),
        rejected=_texts("rejected", selected["instruction_id"]),
        strategy=pl.lit("modified_instruction"),
        generator=pl.lit("digest"),
        chosen_finish=pl.lit("stop"),
        modified_finish=pl.lit("stop"),
        rejected_finish=pl.lit("stop"),
    )
    third = pl.int_range(pl.len()) == 2
    return pairs.with_columns(rejected=pl.when(third).then("chosen").otherwise("rejected"))


def _texts(purpose: str, keys: pl.Series) -> pl.Series:
    """A text of 8 to 14 words for each key."""
    return pl.Series([words(f"{purpose} {key}", 8 + random.Random(f"{purpose} {key}").randrange(7)) for key in keys])


HARD = 10
"""So many pairs have a wrong, an invalid, and then right judgments; of the others the first one is right."""


def _judged(requests: pl.DataFrame, n: int) -> pl.DataFrame:
    """What a judge would say of every request, n times, each time for other reasons."""
    rows = []
    for number, (request, place) in enumerate(requests.select("request_id", "chosen_position").iter_rows()):
        other = "B" if place == "A" else "A"
        verdicts = [f"[[{place}]]"] * n if number >= HARD else [f"[[{other}]]", "none", *[f"[[{place}]]"] * (n - 2)]
        rows += [
            (request, index, f"{words(f'{request} {index}', 12)} {verdict}") for index, verdict in enumerate(verdicts)
        ]
    answers = pl.DataFrame(rows, schema=["request_id", "sample_index", "text"], orient="row")
    return answers.with_columns(finish_reason=pl.lit("stop"), completion_tokens=pl.lit(3))


def _right(requests: pl.DataFrame, n: int) -> pl.DataFrame:
    """The right verdict for every request, n times."""
    each = pl.DataFrame({"sample_index": range(n)})
    answers = requests.select("request_id", text=pl.format("[[{}]]", "label"), finish_reason=pl.lit("stop"))
    return answers.join(each, how="cross")
