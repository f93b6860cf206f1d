"""What separates the texts in a prompt from each other, and how a text is kept from imitating it.

Belongs here: finding a template's delimiters, and marking them where they occur in an inserted text. Not here: the
templates (`prompts`) and the tokens of chat templates, which are encoded as plain text (engines/chat.py).

A response that holds `</response_a>` could end its own block and go on as if it were the prompt: praise itself, stand
in for the other response, or close the task. The delimiters of a template are

- its tags, `<response_a>` and `</response_a>`, wherever they stand, whatever their case;
- the line before an inserted text and the line after it, such as `A:` or `[The End of Assistant A's Answer]`, where
  they open a line.

A backslash makes them visibly not what they look like: `<\\/response_a>`, `\\A:`. Nothing else of the text is changed.
What delimits two texts within one line of the template is not guarded: use tags there.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_HOLE = "\0"
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9_.-]*+)")
_HOLE_OPENS_LINE = re.compile(rf"^[ \t]*+{_HOLE}", re.MULTILINE)
_TEXT_START = r"\A|"
_LINE_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"


class Delimiters(NamedTuple):
    """The delimiters of one template."""

    pattern: re.Pattern[str] | None
    """Matches right before what needs a backslash, or the `<` after which one is put; None if there is nothing."""

    @classmethod
    def of(cls, tokens: Iterable[tuple[int, str, str]]) -> "Delimiters":
        """Finds the delimiters of a template.

        Args:
            tokens: of `jinja2.Environment.lex`: line number, kind and text.
        """
        pieces = {"data": lambda text: text, "variable_begin": lambda _: _HOLE}
        skeleton = "".join(pieces[kind](text) for _, kind, text in tokens if kind in pieces)
        tags = sorted({name.lower() for name in _TAG_NAME.findall(skeleton)})
        starts = []
        if tags:
            starts.append(rf"<(?=(?:\s*+/\s*+)?+(?i:{'|'.join(map(re.escape, tags))})(?![\w.-]))")
        lines = _lines_around_holes(skeleton)
        if lines:
            line_start = rf"(?:{_TEXT_START if _HOLE_OPENS_LINE.search(skeleton) else ''}(?<=[{_LINE_BREAKS}]))"
            starts.append(rf"{line_start}[ \t]*+(?={'|'.join(map(_flexible, lines))})")
        return cls(re.compile("|".join(starts)) if starts else None)

    def neutralised(self, text: str) -> str:
        """The text with a backslash in or before each delimiter that it holds; other texts are returned unchanged."""
        return self.pattern.sub(lambda found: f"{found[0]}\\", text) if self.pattern else text


def _lines_around_holes(skeleton: str) -> list[str]:
    """What stands before an inserted text on its line, or else on the last line before it; and the line after it."""
    lines = [line.strip() for line in skeleton.split("\n") if line.strip()]
    found = set()
    for index, line in enumerate(lines):
        before, hole, _ = line.partition(_HOLE)
        if not hole:
            continue
        found.add(before if before else lines[index - 1] if index else "")
        after = line.rpartition(_HOLE)[2]
        if not after and index + 1 < len(lines):
            found.add(lines[index + 1])
    marks = {line.partition(_HOLE)[0].strip() for line in found}
    return sorted(mark for mark in marks if mark and not _TAG_NAME.match(mark))


def _flexible(line: str) -> str:
    return r"\s++".join(map(re.escape, line.split()))
