"""The code blocks of README.md and of the pages in docs/: builders, no tests.

The log and the decisions tell of the past: their blocks need not work today.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from selftaught_assets_tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.name != "log.md" and page.parent.name != "decisions"
    ),
]
LANGUAGES = {"sh", "yaml", "json", "python", "text"}
"""`text` is what nobody types."""
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"^[A-Z][A-Z0-9_]*=")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """What one types in one go, without variables before it and a comment behind it."""

    program: str
    """Without the folder of the environment."""
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.program, *self.arguments])


def blocks_of(page: Path, text: str) -> list[Block]:
    """All fenced blocks of a page."""
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found.group(2), found.group(3))
        for found in _FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def commands(text: str) -> Iterator[Command]:
    """The commands of a shell block, in order; one may go on over several lines."""
    typed = ""
    for line in text.splitlines():
        typed += line + "\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(typed, comments=True)
        except ValueError:  # A quotation that the next line goes on with.
            continue
        typed = ""
        while words and _ASSIGNMENT.match(words[0]):
            words.pop(0)
        if words:
            yield Command(words[0].removeprefix(".venv/bin/"), tuple(words[1:]))
    if typed:
        raise ValueError(f"a quotation does not end: {typed}")
