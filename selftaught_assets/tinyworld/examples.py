"""Training examples of the seed model: the same conversations that the loop will hold with it.

Belongs here: one example of each ability, and how abilities are mixed. Not here: how a model learns them.
"""

import random
from collections.abc import Mapping
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
from selftaught_assets.tinyworld.judging import careful_judgment, far_miss, near_miss, shallow_judgment
from selftaught_assets.tinyworld.operations import OPERATIONS
from selftaught_assets.tinyworld.world import Task, draw_task, modify_task

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
