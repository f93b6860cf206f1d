"""The one parser of verdicts: from the text of a judgment to A, B or INVALID.

Belongs here: what a verdict is and how it is read off a judgment. Not here: whether it is right (`judging`) and how
several are put together (`votes`).

A verdict is the judge's last word (paper section 3, "Judgment Annotation": a judgment is a chain of thought that ends
in a verdict). Only a complete `[[A]]` or `[[B]]` is one; two different verdicts contradict each other and are INVALID,
like none at all. Nothing is guessed: a text that merely talks about a winner has no verdict. What is said inside
`<think>…</think>` is not yet the judge's word: an unclosed block swallows the rest of the text, and a block whose
opening tag was part of the prompt swallows everything before its closing tag.

Tables hold a verdict as the string "A" or "B", and INVALID as null.
"""

import re
from enum import StrEnum
from typing import Literal

import polars as pl

Position = Literal["A", "B"]
"""Where a response stands before the judge."""


class Verdict(StrEnum):
    """Which of the two responses the judge calls better. INVALID is a class of its own, never half a point."""

    A = "A"
    B = "B"
    INVALID = "INVALID"


_THINKING_BLOCK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_END_OF_THINKING = "</think>"


def without_thinking(text: str) -> str:
    """The text with every thinking block replaced by a space, so that nothing grows together across a block."""
    return _THINKING_BLOCK.sub(" ", text).rpartition(_END_OF_THINKING)[2]


def parse_verdict(text: str) -> Verdict:
    """The verdict of one judgment (paper section 3, "Judgment Annotation"), in time linear in the text.

    The last verdict counts only where no other one contradicts it, so it is enough to ask which kinds occur.
    """
    answer = without_thinking(text)
    says_a, says_b = "[[A]]" in answer, "[[B]]" in answer
    if says_a == says_b:
        return Verdict.INVALID
    return Verdict.A if says_a else Verdict.B


def parse_verdicts(judgments: pl.Series) -> pl.Series:
    """`parse_verdict` of a whole column of texts: "A", "B", or null for INVALID (a null text has no verdict)."""
    answer = (
        pl.col(judgments.name)
        .str.replace_all(r"(?s)<think>.*?(?:</think>|\z)", " ")
        .str.replace(r"(?s)\A.*</think>", "")
        .fill_null("")
    )
    says_a = answer.str.contains("[[A]]", literal=True)
    says_b = answer.str.contains("[[B]]", literal=True)
    verdict = pl.when(says_a & ~says_b).then(pl.lit("A")).when(says_b & ~says_a).then(pl.lit("B"))
    return judgments.to_frame().select(verdict.alias("verdict")).to_series()


def swap(verdict: Verdict) -> Verdict:
    """The same opinion after the two responses changed places."""
    return {Verdict.A: Verdict.B, Verdict.B: Verdict.A, Verdict.INVALID: Verdict.INVALID}[verdict]


def verdict_of_position(position: Position) -> Verdict:
    """The verdict that calls the response at this position better: the right one where the chosen response stands."""
    return Verdict(position)
