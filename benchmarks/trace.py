"""How long `selftaught trace ID` takes, Python's start included, where every table has 1,000,000 rows or more.

The tables are generated: as many pairs as instructions in the pool, 1.6 judgments of each pair in every iteration, an
example for each judgment, with texts of about the length of chat data. Ids are drawn at random, as content hashes are,
so nothing but reading finds them. Each answer is a process of its own, asked for the last row of a table: an example
(up) and an instruction with all that came of it (down).

The results are the slower of the two, beside the mark of 2 s, at a hundredth of the size and at the whole of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from benchmarks.measuring import Result, Side, compared, seconds
from selftaught_assets.method.training_set import MESSAGES
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import write_table

PAIRS = 1_000_000
JUDGMENTS_PER_PAIR = 1.6
ITERATIONS = 3
MARK_SECONDS = 2.0
ROOT = Path(__file__).resolve().parent.parent
TRACE = "import sys; from selftaught_assets.cli import main; sys.argv = ['selftaught', *sys.argv[1:]]; main()"
CHARACTERS = {"instruction": 150, "modified_instruction": 150, "chosen": 400, "rejected": 400, "judgment": 500}


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Makes the tables at both sizes, traces and prints."""
    whole = 2_000 if small else PAIRS
    results = {}
    for name, pairs in (("trace_hundredth", whole // 100), ("trace", whole)):
        with tempfile.TemporaryDirectory(prefix="selftaught-bench-") as place:
            ids = make(Path(place), pairs)
            took = {
                what: [seconds(lambda options=options: trace(Path(place), *options)) for _ in range(rounds)]
                for what, options in {
                    "an example, up": (ids["example"],),
                    "an instruction, down": (ids["instruction"], "--down"),
                }.items()
            }
        sides = [Side(f"{what}, {pairs:,} pairs", numbers, "s") for what, numbers in took.items()]
        faster, slower = sorted(sides, key=lambda side: side.median)
        print(faster)
        results[name] = compared(slower, Side("mark", [MARK_SECONDS], "s"), pairs)
    return results


def trace(folder: Path, *options: str) -> None:
    """Asks in a process of its own; fails if the answer is not about what was asked."""
    environment = os.environ | {"SELFTAUGHT_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    recipe = str(folder / "big.yaml")
    done = subprocess.run(
        [sys.executable, "-c", TRACE, "trace", *options, "--json", "--recipe", recipe],
        capture_output=True,
        env=environment,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"trace failed: {done.stderr[-2000:]}")
    if json.loads(done.stdout)["id"] != options[0]:
        raise RuntimeError(f"{options[0]} was asked for, and this answered: {done.stdout[:500]}")


def make(folder: Path, pairs: int) -> dict[str, str]:
    """Writes a recipe and the tables of all iterations.

    Returns:
        The id of the last kept example and of its instruction.
    """
    draws = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    layout = Layout(folder / "data", "big")
    _write_recipe(folder)
    instructions = pl.DataFrame(
        {
            "instruction_id": _ids(draws, pairs),
            "line": np.arange(1, pairs + 1),
            "instruction": _texts(draws, pairs, "instruction"),
            "source": "pool.jsonl",
            "category": "open_qa",
            "drop_reason": pl.Series([None], dtype=pl.String).new_from_index(0, pairs),
        }
    )
    table = _pairs(draws, instructions)
    write_table(layout.table("instruction_pool"), instructions)
    for number in range(1, ITERATIONS + 1):
        iteration = f"iteration_{number:02d}"
        write_table(layout.table("instructions", iteration), instructions)
        write_table(layout.table("pairs", iteration), table)  # The same in all, as in the paper.
        judgments = _judgments(draws, table, judge=f"{number:064x}")
        write_table(layout.table("judgments", iteration), judgments)
        examples = _examples(draws, judgments, table)
        write_table(layout.table("filtered_set", iteration), examples)
    last = examples.filter(pl.col("drop_reason").is_null()).row(-1, named=True)
    return {"example": last["example_id"], "instruction": last["instruction_id"]}


def _write_recipe(folder: Path) -> None:
    """The demo with another name, since a recipe's files must exist."""
    recipes = ROOT / "recipes"
    values = yaml.safe_load((recipes / "demo.yaml").read_text(encoding="utf-8"))
    values |= {
        "name": "big",
        "seed_model": str(ROOT / "models" / "seed"),
        "prompts": str(recipes / "tinyworld/prompts"),
    }
    values["pool"]["path"] = str(recipes / "tinyworld" / "pool.jsonl")
    values["benchmarks"][0]["path"] = str(recipes / "tinyworld" / "benchmark.jsonl")
    (folder / "big.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def _pairs(draws: np.random.Generator, instructions: pl.DataFrame) -> pl.DataFrame:
    texts = ("modified_instruction", "chosen", "rejected")
    return instructions.select(
        pl.Series("pair_id", _ids(draws, instructions.height)),
        "instruction_id",
        "instruction",
        *(pl.Series(name, _texts(draws, instructions.height, name)) for name in texts),
        strategy=pl.lit("modified_instruction"),
        generator=pl.lit("0" * 64),
        chosen_finish=pl.lit("stop"),
        modified_finish=pl.lit("stop"),
        rejected_finish=pl.lit("stop"),
        drop_reason=pl.lit(None, dtype=pl.String),
    )


def _judgments(draws: np.random.Generator, pairs: pl.DataFrame, *, judge: str) -> pl.DataFrame:
    """Of each pair as many as it takes until one is right, as `judgments.stop: first_correct` leaves them."""
    counts = draws.geometric(1 / JUDGMENTS_PER_PAIR, pairs.height)
    rows = int(counts.sum())
    first = np.repeat(np.cumsum(counts) - counts, counts)
    index = np.arange(rows) - first
    right = index == np.repeat(counts, counts) - 1
    position = np.where(np.repeat(draws.random(pairs.height) < 0.5, counts), "A", "B")
    other = np.where(position == "A", "B", "A")
    return pl.DataFrame(
        {
            "judgment_id": _ids(draws, rows),
            "pair_id": pairs["pair_id"].gather(np.repeat(np.arange(pairs.height), counts)),
            "sample_index": index,
            "chosen_position": position,
            "judge": pl.Series([judge]).new_from_index(0, rows),
            "judgment": _texts(draws, rows, "judgment"),
            "verdict": np.where(right, position, other),
            "is_correct": right,
            "finish_reason": "stop",
            "completion_tokens": 120,
            "drop_reason": pl.Series([None], dtype=pl.String).new_from_index(0, rows),
        }
    )


def _examples(draws: np.random.Generator, judgments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    facts = pairs.select("pair_id", "instruction_id", "instruction", "chosen", "rejected")
    right = pl.col("is_correct")
    question = pl.concat_str("instruction", "chosen", "rejected", separator="\n\n")
    message = pl.concat_list(pl.struct(role=pl.lit("user"), content=question)).cast(MESSAGES)
    return judgments.join(facts, on="pair_id", maintain_order="left", how="left").select(
        pl.Series("example_id", _ids(draws, judgments.height)),
        "judgment_id",
        "pair_id",
        "instruction_id",
        pl.when(right).then(message).alias("messages"),
        pl.when(right).then("judgment").alias("completion"),
        pl.col("verdict").alias("label"),
        split=pl.lit("train"),
        drop_reason=pl.when(~right).then(pl.lit("wrong_verdict")),
    )


def _ids(draws: np.random.Generator, rows: int) -> pl.Series:
    """Row ids as `identity.row_id` makes them: 16 hex digits."""
    digits = np.frombuffer(b"0123456789abcdef", dtype="S1")
    return pl.Series(digits[draws.integers(0, 16, (rows, 16))].view("S16").ravel().astype(str), dtype=pl.String)


def _texts(draws: np.random.Generator, rows: int, column: str) -> list[str]:
    """Pieces of a long text of random words, half to one and a half times as long as is usual in the column."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = ["".join(draws.choice(letters, size=size)) for size in draws.integers(2, 10, size=5_000)]
    frequencies = 1 / np.arange(1, len(vocabulary) + 1)
    source = " ".join(draws.choice(vocabulary, size=1_000_000, p=frequencies / frequencies.sum()))
    usual = CHARACTERS[column]
    starts = draws.integers(0, len(source) - 2 * usual, rows)
    ends = starts + draws.integers(usual // 2, usual * 3 // 2, rows)
    return [source[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
