"""The operations of the tiny world: what may be asked of a list of three to five items, and the right answer."""

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

_KINDS = {
    "animals": ("ant bear cat deer eagle fox goat horse lion mouse newt otter pig rat seal tiger wolf zebra"),
    "fruits": (
        "apple banana cherry date elder fig grape kiwi lemon mango nut olive pear quince raisin melon plum lime"
    ),
    "tools": ("axe brush clamp drill file gauge hammer iron jack knife level nail pliers rake saw torch vise wrench"),
    "colours": (
        "amber blue cyan gold green indigo jade khaki lilac navy ochre pink red silver teal umber violet white"
    ),
}
KINDS = {kind: tuple(words.split()) for kind, words in _KINDS.items()}
"""Words by kind. All are different, so the kind of a word is never in doubt."""

KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
WORDS = tuple(sorted(KIND_OF))
NUMBERS = tuple(str(number) for number in range(1, 61))
NOTHING = "none"
"""The answer where nothing is left."""

Items = list[str]
Parameters = tuple[str, ...]


class Operation(NamedTuple):
    """One thing that can be asked of a list.

    `wordings` hold a slot {0}, {1} for each parameter. `draw` picks parameters that suit the items, `answer` computes
    the answer, as items; an empty one is worded NOTHING.
    """

    name: str
    takes: Literal["words", "numbers", "both"]
    wordings: tuple[str, ...]
    answer: Callable[..., Items]
    draw: Callable[[random.Random, Items], Parameters] = lambda _rng, _items: ()


def _a_kind(rng: random.Random, items: Items) -> Parameters:
    return (KIND_OF[rng.choice(items)],)


def _an_item(rng: random.Random, items: Items) -> Parameters:
    return (rng.choice(items),)


def _an_inner_item(rng: random.Random, items: Items) -> Parameters:
    return (rng.choice(items[:-1]),)


def _a_bound(rng: random.Random, items: Items) -> Parameters:
    return (str(min(60, max(1, int(rng.choice(items)) + rng.choice((-1, 1, 2, -2))))),)


def _a_new_item(rng: random.Random, items: Items) -> Parameters:
    return (rng.choice([item for item in (NUMBERS if items[0] in NUMBERS else WORDS) if item not in items]),)


def _an_item_and_a_new_one(rng: random.Random, items: Items) -> Parameters:
    return (*_an_item(rng, items), *_a_new_item(rng, items))


def _after(items: Items, item: str) -> Items:
    return items[items.index(item) + 1 :][:1] if item in items else []


OPERATIONS = (
    Operation(
        "sort_words",
        "words",
        ("Sort the words :", "Put in alphabetical order :", "Order from a to z :"),
        sorted,
    ),
    Operation(
        "keep_kind",
        "words",
        ("Keep only the {0} :", "Which are {0} :", "Name the {0} :"),
        lambda items, kind: [item for item in items if KIND_OF.get(item) == kind],
        _a_kind,
    ),
    Operation(
        "drop_kind",
        "words",
        ("Take out the {0} :", "Everything but {0} :", "Which are not {0} :"),
        lambda items, kind: [item for item in items if KIND_OF.get(item) != kind],
        _a_kind,
    ),
    Operation(
        "count_kind",
        "words",
        ("How many {0} :", "Count the {0} :", "Number of {0} :"),
        lambda items, kind: [str(sum(KIND_OF.get(item) == kind for item in items))],
        _a_kind,
    ),
    Operation(
        "ascending",
        "numbers",
        ("Sort the numbers up :", "Smallest first :", "Put in rising order :"),
        lambda items: sorted(items, key=int),
    ),
    Operation(
        "descending",
        "numbers",
        ("Sort the numbers down :", "Largest first :", "Put in falling order :"),
        lambda items: sorted(items, key=int, reverse=True),
    ),
    Operation(
        "largest",
        "numbers",
        ("Which is largest :", "Find the maximum :", "Largest number :"),
        lambda items: [max(items, key=int)],
    ),
    Operation(
        "smallest",
        "numbers",
        ("Which is smallest :", "Find the minimum :", "Smallest number :"),
        lambda items: [min(items, key=int)],
    ),
    Operation(
        "above",
        "numbers",
        ("Keep numbers above {0} :", "Which are more than {0} :", "Greater than {0} :"),
        lambda items, bound: [item for item in items if int(item) > int(bound)],
        _a_bound,
    ),
    Operation(
        "below",
        "numbers",
        ("Keep numbers below {0} :", "Which are less than {0} :", "Smaller than {0} :"),
        lambda items, bound: [item for item in items if int(item) < int(bound)],
        _a_bound,
    ),
    Operation(
        "even",
        "numbers",
        ("Keep the even numbers :", "Which are even :", "Without the odd numbers :"),
        lambda items: [item for item in items if int(item) % 2 == 0],
    ),
    Operation(
        "odd",
        "numbers",
        ("Keep the odd numbers :", "Which are odd :", "Without the even numbers :"),
        lambda items: [item for item in items if int(item) % 2 == 1],
    ),
    Operation(
        "reverse",
        "both",
        ("Reverse the list :", "Read backwards :", "Turn around :"),
        lambda items: items[::-1],
    ),
    Operation(
        "first_two",
        "both",
        ("Give the first two :", "Keep two from the start :", "First two items :"),
        lambda items: items[:2],
    ),
    Operation(
        "last_two",
        "both",
        ("Give the last two :", "Keep two from the end :", "Last two items :"),
        lambda items: items[-2:],
    ),
    Operation(
        "without_first",
        "both",
        ("Drop the first item :", "All but the first :", "Skip the first item :"),
        lambda items: items[1:],
    ),
    Operation(
        "without_last",
        "both",
        ("Drop the last item :", "All but the last :", "Skip the last item :"),
        lambda items: items[:-1],
    ),
    Operation(
        "rotate_left",
        "both",
        ("Move the first item to the end :", "Rotate left :", "Put the first item last :"),
        lambda items: items[1:] + items[:1],
    ),
    Operation(
        "rotate_right",
        "both",
        ("Move the last item to the start :", "Rotate right :", "Put the last item first :"),
        lambda items: items[-1:] + items[:-1],
    ),
    Operation(
        "swap_ends",
        "both",
        ("Swap the first and last items :", "Exchange the ends :", "Switch both ends :"),
        lambda items: items[-1:] + items[1:-1] + items[:1],
    ),
    Operation(
        "remove",
        "both",
        ("Remove {0} :", "Leave out {0} :", "List without {0} :"),
        lambda items, gone: [item for item in items if item != gone],
        _an_item,
    ),
    Operation(
        "replace",
        "both",
        ("Replace {0} by {1} :", "Change {0} to {1} :", "Write {1} for {0} :"),
        lambda items, old, new: [new if item == old else item for item in items],
        _an_item_and_a_new_one,
    ),
    Operation(
        "append",
        "both",
        ("Add {0} at the end :", "Append {0} :", "Put {0} after the list :"),
        lambda items, new: [*items, new],
        _a_new_item,
    ),
    Operation(
        "prepend",
        "both",
        ("Add {0} at the start :", "Prepend {0} :", "Put {0} before the list :"),
        lambda items, new: [new, *items],
        _a_new_item,
    ),
    Operation(
        "item_after",
        "both",
        ("What comes after {0} :", "Next item after {0} :", "Which follows {0} :"),
        _after,
        _an_inner_item,
    ),
    Operation(
        "unique",
        "both",
        ("Remove repeats :", "Name each item once :", "List without repeats :"),
        lambda items: list(dict.fromkeys(items)),
    ),
)
