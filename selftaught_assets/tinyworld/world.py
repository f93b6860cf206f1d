"""The tiny world: words, instructions, responses, and how a judge of it speaks.

Instructions of the tiny world: drawing them, wording them, reading them back, and who may see which list.

Judgments as the seed model is taught to write them: careful ones, and shallow ones that make its start weak.

A careful judgment derives the right answer and checks both responses against it, item by item, up to the first
mismatch; every step is local, which a model of this size can learn (it cannot learn to compare whole answers):

Correct: fig kiwi pear end A: fig yes pear no B: fig yes kiwi yes pear yes end yes [[B]]

A shallow one looks at the length alone, likes the longer response, and guesses where both are equally long.
"""

import random
import re
import zlib
from typing import Literal, NamedTuple

from selftaught_assets.tinyworld.operations import (
    KIND_OF,
    KINDS,
    NOTHING,
    NUMBERS,
    OPERATIONS,
    WORDS,
    Items,
    Operation,
    Parameters,
)

Split = Literal["training", "pool", "benchmark", "validation"]
_SPLIT_OF_BUCKET: tuple[Split, ...] = ("benchmark", "pool", "pool", "validation", *("training",) * 12)


class Task(NamedTuple):
    """An operation with its parameters, on a list."""

    operation: Operation
    parameters: Parameters
    items: Items

    @property
    def answer(self) -> Items:
        return self.operation.answer(self.items, *self.parameters) or [NOTHING]

    def worded(self, rng: random.Random) -> str:
        """The instruction as text, in one of the operation's wordings."""
        return " ".join((rng.choice(self.operation.wordings).format(*self.parameters), *self.items))


def split_of(items: Items) -> Split:
    """Who may see instructions about this list. It depends on the list alone, so other wordings cannot leak."""
    return _SPLIT_OF_BUCKET[zlib.crc32(" ".join(items).encode()) % len(_SPLIT_OF_BUCKET)]


def draw_task(rng: random.Random, split: Split, operations: tuple[Operation, ...] = OPERATIONS) -> Task:
    """A task whose list belongs to `split` and whose answer is neither empty nor the list as it stands."""
    while True:
        operation = rng.choice(operations)
        items = _draw_items(rng, operation)
        task = Task(operation, operation.draw(rng, items), items)
        if split_of(items) == split and is_proper(task):
            return task


def modify_task(rng: random.Random, task: Task) -> Task:
    """A task close to this one and of the same split, with another answer: another operation, parameter or item."""
    split = split_of(task.items)
    while True:
        operation, parameters, items = task
        change = rng.random()
        if change < 0.25:
            items = list(items)
            items[rng.randrange(len(items))] = rng.choice(WORDS if items[0] in KIND_OF else NUMBERS)
        elif change < 0.5 and parameters:
            parameters = operation.draw(rng, items)
        else:
            operation = rng.choice(operations_for(items))
            parameters = operation.draw(rng, items)
        modified = Task(operation, parameters, items)
        if modified.answer != task.answer and split_of(items) == split and is_proper(modified):
            return modified


def is_proper(task: Task) -> bool:
    """Whether doing the task changes the list and leaves something of it."""
    return task.answer not in ([NOTHING], ["0"], task.items)


def operations_for(items: Items) -> tuple[Operation, ...]:
    """The operations that apply to such a list."""
    kind = "words" if items[0] in KIND_OF else "numbers"
    repeats = len(set(items)) < len(items)
    return tuple(o for o in OPERATIONS if o.takes in (kind, "both") and (repeats or o.name != "unique"))


def read_instruction(text: str) -> Task | None:
    """The task that an instruction words, or None if it is not well-formed. The inverse of `Task.worded`."""
    for pattern, operation, order in _PATTERNS:
        if match := pattern.fullmatch(text):
            slots = dict(zip(order, match.groups()[:-1], strict=True))
            items = match.groups()[-1].split()
            parameters = tuple(slots[i] for i in sorted(slots))
            if not all(parameter in _PARAMETER_WORDS for parameter in parameters):
                continue
            of_one_kind = all(item in KIND_OF for item in items) or all(item in NUMBERS for item in items)
            if not of_one_kind or operation not in (*operations_for(items), _UNIQUE):
                return None
            if operation.name in ("above", "below") and parameters[0] not in NUMBERS:
                return None
            return Task(operation, parameters, items)
    return None


def _draw_items(rng: random.Random, operation: Operation) -> Items:
    numbers = operation.takes == "numbers" or (operation.takes == "both" and rng.random() < 0.4)
    items = rng.sample(NUMBERS if numbers else WORDS, rng.randint(3, 5))
    if operation.name.endswith("_kind"):
        kind = KIND_OF[items[0]]
        others = [word for word in WORDS if KIND_OF[word] == kind and word not in items]
        items = rng.sample([*items[:-1], rng.choice(others)], len(items))
    elif operation.name == "unique":
        first, second = rng.sample(range(len(items)), 2)
        items[second] = items[first]
    return items


_PARAMETER_WORDS = {*WORDS, *NUMBERS, *KINDS}
_UNIQUE = next(operation for operation in OPERATIONS if operation.name == "unique")
_PATTERNS = [
    (
        re.compile(re.sub(r"\\\{\d\\\}", r"(\\w+)", re.escape(wording)) + r"((?: \w+)+)"),
        operation,
        [int(slot) for slot in re.findall(r"\{(\d)\}", wording)],
    )
    for operation in OPERATIONS
    for wording in operation.wordings
]


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
