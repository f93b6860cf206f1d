"""The texts of the tiny world: the demo's data, and what its seed model is trained on.

Writes the demo's pool and benchmark: `python -m selftaught_assets.tinyworld.data [--out FOLDER]`.

The rows are the same on every machine. The lists of the pool, of the benchmark and of the seed model's training are
disjoint (`world.split_of`).

The winner of a benchmark pair cannot be told from its position or its length: within each subset and each relation of
the lengths (winner longer, shorter, equal) half of the winners are A, and as many winners are longer as are shorter.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

from selftaught_assets.method.pairs import INSTRUCTION_MARKER, RESPONSE_MARKER
from selftaught_assets.method.prompts import (
    PromptTemplates,
    judge_messages,
    modified_instruction_messages,
    modified_pair_messages,
    response_messages,
)
from selftaught_assets.tinyworld.operations import OPERATIONS
from selftaught_assets.tinyworld.world import (
    Split,
    Task,
    careful_judgment,
    draw_task,
    far_miss,
    modify_task,
    near_miss,
    shallow_judgment,
)

PROMPTS_FOLDER = Path(__file__).resolve().parent.parent.parent / "recipes" / "tinyworld" / "prompts"


class Example(NamedTuple):
    """One turn: what the user asks, as messages, and what the model is to say."""

    messages: list[dict[str, str]]
    completion: str


class Mixture(NamedTuple):
    """Shares of the abilities, and for each operation the share of its judgments that are careful."""

    response: float
    modified_instruction: float
    modified_pair: float
    judge: float
    careful: Mapping[str, float]


def draw_example(rng: random.Random, mixture: Mixture) -> Example:
    """An example about a list of the training split."""
    ability = rng.choices(Mixture._fields[:4], mixture[:4])[0]
    task = draw_task(rng, "training")
    instruction = task.worded(rng)
    chosen = " ".join(task.answer)
    if ability == "response":
        return Example(response_messages(_TEMPLATES, instruction), chosen)
    if ability == "judge":
        return _judgment(rng, task, instruction, mixture.careful[task.operation.name])
    modified = modify_task(rng, task)
    if ability == "modified_instruction":
        return Example(modified_instruction_messages(_TEMPLATES, instruction, chosen), modified.worded(rng))
    pair = f"{INSTRUCTION_MARKER} {modified.worded(rng)} {RESPONSE_MARKER} {' '.join(modified.answer)}"
    return Example(modified_pair_messages(_TEMPLATES, instruction, chosen), pair)


def _judgment(rng: random.Random, task: Task, instruction: str, careful_share: float) -> Example:
    kind = rng.choices(("modified", "near", "far"), (0.45, 0.35, 0.2))[0]
    if kind == "modified":
        wrong = modify_task(rng, task).answer
    else:
        wrong = (near_miss if kind == "near" else far_miss)(rng, task)
    label = rng.choice("AB")
    a, b = (task.answer, wrong) if label == "A" else (wrong, task.answer)
    careful = rng.random() < careful_share
    judgment = careful_judgment(task.answer, a, b, label) if careful else shallow_judgment(rng, a, b)
    return Example(judge_messages(_TEMPLATES, instruction, " ".join(a), " ".join(b)), judgment)


_TEMPLATES = PromptTemplates(
    **{name: (PROMPTS_FOLDER / f"{name}.jinja").read_text(encoding="utf-8") for name in PromptTemplates._fields}
)
ALWAYS_CAREFUL = dict.fromkeys((operation.name for operation in OPERATIONS), 0.9)


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
