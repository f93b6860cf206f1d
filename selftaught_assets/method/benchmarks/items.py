"""One pair of a benchmark, whatever the format it came in."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from selftaught_assets.method.identity import derive_seed

Record = Mapping[str, object]
"""What one line of a file holds."""

Label = Literal["A", "B", "TIE"]


class Item(NamedTuple):
    """A labelled pair. Texts are as the file has them: what is no text is found out when the table is made."""

    item_id: str
    instruction: object
    response_a: object
    response_b: object
    label: Label | None
    """None where the record has no label that could be read."""
    subset: object = None
    group_id: str | None = None
    """Items that are scored together share it; None stands for an item of its own."""
    reference: object = None
    """A right answer, where the benchmark has one."""
    variant: str | None = None
    """Style of the winner and of the loser ("plain/markdown"), where a benchmark varies them."""
    question: object = None
    """What its relatives ask as well, where that is not the whole instruction: the first turn of a conversation."""
    set_aside: str | None = None
    """The reason why the format itself does not count this record in."""
    label_seen: object = None
    """What stands instead of a label that could not be read."""


_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
"""How YAML spells its truth values: a recipe that says `yes` means the word of the file, and holds a truth value."""


def is_missing(value: object) -> bool:
    """Whether a cell of a file holds nothing: null, not a number (as pandas writes a gap), or an empty text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def label_text(value: object) -> str | None:
    """A label as text that is the same however files write it; None where there is none.

    Case and white space at the ends do not count. 1, 1.0 and "1.0" are one label: a column of whole numbers with a gap
    in it is often stored as floats. `yes`, `on` and true are one, and so are `no`, `off` and false.
    """
    if is_missing(value):
        return None
    text = str(value).strip().casefold()
    if whole := _WHOLE.fullmatch(text):
        return str(int(whole[1]))
    return "true" if text in _TRUE else "false" if text in _FALSE else text


def placed(item_id: str, instruction: object, chosen: object, rejected: object, **more: object) -> Item:
    """An item out of a chosen and a rejected response.

    Where the winner stands is drawn with a seed made of the three texts, and of nothing that tells which of the two
    responses won: so a pair has one place on every machine and in every recipe, and A wins about half of the pairs.
    """
    first, second = sorted((str(chosen), str(rejected)))
    first_in_a = derive_seed("position", str(instruction), first, second) % 2 == 0
    if first_in_a == (str(chosen) == first):
        return Item(item_id, instruction, chosen, rejected, "A", **more)
    return Item(item_id, instruction, rejected, chosen, "B", **more)


def majority(votes: Iterable[Label]) -> Label:
    """What most people say: A or B where it has more votes than each of the others, else a tie."""
    ranked = Counter(votes).most_common(2)
    alone = len(ranked) == 1 or (len(ranked) == 2 and ranked[0][1] > ranked[1][1])
    return ranked[0][0] if alone else "TIE"


def with_ids(records: Iterable[Record], *fields: str) -> Iterator[tuple[str, Record]]:
    """Every record with an id made of these fields ("chat/7"); a repeated one is told apart by its number ("chat/7#2").

    Published files are not the user's to mend, so a repeated id is no error there.
    """
    seen: Counter[str] = Counter()
    for record in records:
        name = "/".join(str(record[field]) for field in fields)
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), record


def texts(value: object) -> Sequence[object]:
    """The entries of a list of responses; what is no list, or an empty one, is one response."""
    return value if isinstance(value, list | tuple) and value else [None if value == [] else value]


def in_turns(turns: Sequence[object], names: Sequence[str] | None = None) -> object:
    """The turns of a conversation as one text, each under its name; None if one of them is no text.

    Args:
        turns: the texts in their order; one alone needs no heading.
        names: of the turns, "Turn 1" onwards by default.
    """
    if not turns or not all(isinstance(turn, str) for turn in turns):
        return None
    if len(turns) == 1:
        return turns[0]
    names = names or [f"Turn {number}" for number in range(1, len(turns) + 1)]
    return "\n\n".join(f"{name}:\n{turn}" for name, turn in zip(names, turns, strict=True))
