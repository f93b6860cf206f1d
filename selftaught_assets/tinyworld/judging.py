"""Judgments as the seed model is taught to write them: careful ones, and shallow ones that make its start weak.

Belongs here: wrong responses and the text of judgments. Not here: which share of judgments is careful (train_seed.py).

A careful judgment derives the right answer and checks both responses against it, item by item, up to the first
mismatch; every step is local, which a model of this size can learn (it cannot learn to compare whole answers):

    Correct: fig kiwi pear end
    A: fig yes pear no
    B: fig yes kiwi yes pear yes end yes
    [[B]]

A shallow one looks at the length alone, likes the longer response, and guesses where both are equally long.
"""

import random

from selftaught_assets.tinyworld.operations import KIND_OF, NUMBERS, WORDS, Items
from selftaught_assets.tinyworld.world import Task, modify_task

END = "end"
TRUST_IN_LENGTH = 0.8
"""How often a shallow judgment prefers the longer response, where one is longer."""


def near_miss(rng: random.Random, task: Task) -> Items:
    """The right answer with one mistake: two items swapped, one left out, one too many, or one replaced."""
    answer = task.answer
    while True:
        wrong = list(answer)
        place = rng.randrange(len(wrong))
        other = rng.choice(task.items)
        if task.operation.name == "count_kind":
            other = str(rng.randint(1, len(task.items)))
        elif rng.random() < 0.4:
            other = rng.choice(WORDS if other in KIND_OF else NUMBERS)
        mistake = rng.choice(("swap", "omit", "add", "replace"))
        if mistake == "swap" and place > 0:
            wrong[place - 1], wrong[place] = wrong[place], wrong[place - 1]
        elif mistake == "omit" and len(wrong) > 1:
            del wrong[place]
        elif mistake == "add" and len(wrong) < 6:
            wrong.insert(rng.randrange(len(wrong) + 1), other)
        elif mistake == "replace":
            wrong[place] = other
        if wrong != answer:
            return wrong


def far_miss(rng: random.Random, task: Task) -> Items:
    """The right answer to another task on the same list, or some items of the list in any order."""
    while True:
        wrong = modify_task(rng, task).answer
        if rng.random() < 0.2:
            wrong = rng.sample(task.items, rng.randint(1, len(task.items)))
        if wrong != task.answer:
            return wrong


def careful_judgment(correct: Items, response_a: Items, response_b: Items, label: str) -> str:
    """Derivation, item-by-item checks of both responses, verdict."""
    derivation = " ".join(("Correct:", *correct, END))
    return f"{derivation}\nA: {_check(response_a, correct)}\nB: {_check(response_b, correct)}\n[[{label}]]"


def shallow_judgment(rng: random.Random, response_a: Items, response_b: Items) -> str:
    """A glance at the length; right about half of the time."""
    if len(response_a) == len(response_b):
        return f"Glance: same length\n[[{rng.choice('AB')}]]"
    longer, shorter = ("A", "B") if len(response_a) > len(response_b) else ("B", "A")
    return f"Glance: {longer} is longer\n[[{longer if rng.random() < TRUST_IN_LENGTH else shorter}]]"


def _check(response: Items, correct: Items) -> str:
    words = []
    for given, right in zip([*response, END], [*correct, END], strict=False):
        words += [given, "yes" if given == right else "no"]
        if given != right:
            break
    return " ".join(words)
