"""YAML of which a reader sees at once what it says: every field once, and no more of it than there is to read.

YAML's reader keeps the second of two fields without a word. Aliases are references: ten lines of them stand for a
gigabyte, which shows where the text is looked through or quoted. Numbers without end take hours to read.
"""

from typing import Any

import yaml

MOST_CHARACTERS = 100_000
"""Of a text. The longest recipe that is shipped has a fifth of it."""
_MOST_MEANT = 500_000
"""Characters and values that a text may stand for once its aliases are filled in."""
_LONGEST_NUMBER = 1_000
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class RepeatedError(ValueError):
    """A field stands twice in one mapping."""


def load_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: it is not YAML, is too long, stands for too much, or is nested too deeply.
        RepeatedError: a field is repeated.
        ValueError: a value is impossible.
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, of which at most {MOST_CHARACTERS:,} are read")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            if _meant(root, {}) > _MOST_MEANT:
                raise yaml.YAMLError("its aliases (*) stand for too much: write out what is meant")
            _require_different_fields(root, "", set())
        return yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _meant(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Characters and values that a node stands for; None in `known` where that is being counted."""
    if id(node) in known:
        if (count := known[id(node)]) is None:
            raise yaml.YAMLError("an alias (*) stands for what it is a part of")
        return count
    known[id(node)] = None
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise yaml.YAMLError(f"a number has {len(node.value):,} digits")
        count = 1 + len(node.value)
    elif isinstance(node, yaml.MappingNode):
        count = 1 + sum(_meant(part, known) for pair in node.value for part in pair)
    else:
        count = 1 + sum(_meant(part, known) for part in node.value)
    known[id(node)] = count
    return count


def _require_different_fields(node: yaml.Node, place: str, seen: set[int]) -> None:
    if id(node) in seen:  # An alias.
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _require_different_fields(item, f"{place}[{index}]", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            field = f"{place}.{name}" if place else name
            if name in lines:
                raise RepeatedError(f"`{field}` occurs twice (lines {lines[name]} and {line})")
            lines[name] = line
            _require_different_fields(value, field, seen)
