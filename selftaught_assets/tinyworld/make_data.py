"""Writes the demo's pool and benchmark: `python -m selftaught_assets.tinyworld.make_data [--out FOLDER]`.

Belongs here: how many rows of what. The rows are the same on every machine. The lists of the pool, of the benchmark and
of the seed model's training are disjoint (`world.split_of`).

The winner of a benchmark pair cannot be told from its position or its length: within each subset and each relation of
the lengths (winner longer, shorter, equal) half of the winners are A, and as many winners are longer as are shorter.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from selftaught_assets.tinyworld.judging import far_miss, near_miss
from selftaught_assets.tinyworld.world import Split, draw_task

RECIPE_DATA = Path(__file__).resolve().parent.parent.parent / "recipes" / "tinyworld"
SEED = 20
POOL_ROWS = 6_000
PAIRS_BY_RELATION = {"longer": 68, "shorter": 68, "equal": 136}
"""In each subset: how many pairs have a winner that is longer than, shorter than, as long as the loser."""

Row = dict[str, str]


def make_pool(rng: random.Random) -> Iterator[Row]:
    """Unlabelled instructions: {id, instruction, category}; the category is the name of the operation."""
    seen = set()
    while len(seen) < POOL_ROWS:
        task = draw_task(rng, "pool")
        instruction = task.worded(rng)
        if instruction not in seen:
            seen.add(instruction)
            yield {"id": f"pool-{len(seen):05d}", "instruction": instruction, "category": task.operation.name}


def make_benchmark(rng: random.Random, split: Split = "benchmark") -> list[Row]:
    """Pairs whose better response is known: {id, subset, instruction, response_a, response_b, label}.

    In the subset `easy` the loser answers another task on the same list, or picks items of it; in `hard` it is the
    right answer with one mistake. `split` says whose lists to take: another than the default gives pairs to tune on.
    """
    wanted = Counter(
        {
            (subset, relation, label): count // 2
            for subset, (relation, count), label in product(("easy", "hard"), PAIRS_BY_RELATION.items(), "AB")
        }
    )
    rows, seen = [], set()
    while wanted.total():
        task = draw_task(rng, split)
        subset, label = rng.choice(("easy", "hard")), rng.choice("AB")
        right, wrong = task.answer, (far_miss if subset == "easy" else near_miss)(rng, task)
        relation = "equal" if len(right) == len(wrong) else "longer" if len(right) > len(wrong) else "shorter"
        instruction = task.worded(rng)
        if wanted[subset, relation, label] == 0 or instruction in seen:
            continue
        wanted[subset, relation, label] -= 1
        seen.add(instruction)
        response_a, response_b = (right, wrong) if label == "A" else (wrong, right)
        rows.append(
            {
                "id": f"{split}-{len(seen):04d}",
                "subset": subset,
                "instruction": instruction,
                "response_a": " ".join(response_a),
                "response_b": " ".join(response_b),
                "label": label,
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RECIPE_DATA, help="folder for pool.jsonl and benchmark.jsonl")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "pool.jsonl", make_pool(random.Random(SEED)))
    _write(folder / "benchmark.jsonl", make_benchmark(random.Random(SEED + 1)))


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
