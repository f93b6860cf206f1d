"""The one parser of judgments: from a text to A, B, TIE or INVALID, and from a rating's text to a number from 1 to 10.

A verdict is the judge's last word (paper section 3, "Judgment Annotation": a judgment is a chain of thought that ends
in a verdict). Only a complete verdict in the format that was asked for is one; two different verdicts contradict each
other and are INVALID, like none at all. Nothing is guessed: a text that merely talks about a winner has no verdict.
What is said inside `<think>…</think>` is not yet the judge's word: an unclosed block swallows the rest of the text,
and a block whose opening tag was part of the prompt swallows everything before its closing tag.

A rating is written `[[7]]`, as MT-Bench does for single responses. The rules are the same, and nothing is rounded.

Tables hold a verdict as the string "A", "B" or "TIE", and INVALID as null.
"""

import json
import re
from enum import StrEnum
from typing import Literal

import polars as pl

Position = Literal["A", "B"]
"""Where a response stands before the judge."""

VerdictFormat = Literal["brackets", "arrows", "output", "json", "answer"]
"""How the prompt asks for a verdict.

- `brackets`: `[[A]]`, `[[B]]`, and `[[C]]` for a tie, as MT-Bench does (the paper's and the default).
- `arrows`: `[[A>>B]]`, `[[A>B]]`, `[[A=B]]`, `[[B>A]]`, `[[B>>A]]`, as Arena-Hard does; how clearly a side wins is not
  kept, and the arrows may point the other way.
- `output`: a sentence of its own, "Output (a) is better", as LLMBar does; "Therefore," and the like may lead it in.
  "Both outputs are equally good" is a tie. The words "Output (a)" are a verdict where they are the whole answer.
- `json`: a JSON object without inner objects or lists, with `"verdict": "A"`, `"B"` or `"tie"`.
- `answer`: `<answer>[[A]]</answer>`; brackets outside the tag are talk.
"""


class Verdict(StrEnum):
    """Which of the two responses the judge calls better. INVALID is a class of its own, never half a point."""

    A = "A"
    B = "B"
    TIE = "TIE"
    """Neither, where the prompt offers that."""
    INVALID = "INVALID"


# Linear time: quantifiers are possessive, so no match is tried twice, and a match that fails ends where another starts.
_LETTER = r"\[\[(?:(?P<A>A)|(?P<B>B)|(?P<TIE>C))\]\]"
_START_OF_SENTENCE = r"(?:^[ \t*]*+|(?<=[.!?:]) [ *]*+)(?:(?:Therefore|Thus|Hence|So|Overall|In conclusion),? )?+\**+"
_END_OF_SENTENCE = r"(?:\**+[.!]\**+(?=\s|\Z)|\**+[ \t]*+(?=[\r\n]|\Z))"
_PATTERNS: dict[VerdictFormat, re.Pattern[str]] = {
    "brackets": re.compile(_LETTER),
    "arrows": re.compile(r"\[\[(?:(?P<A>A>>?B|B<<?A)|(?P<B>B>>?A|A<<?B)|(?P<TIE>A=B|B=A))\]\]"),
    "output": re.compile(
        rf"{_START_OF_SENTENCE}(?:Output \((?:(?P<A>a)|(?P<B>b))\) is better|(?P<TIE>Both outputs are equally good))"
        + _END_OF_SENTENCE,
        re.MULTILINE,
    ),
    "answer": re.compile(rf"<answer>\s*+{_LETTER}\s*+</answer>"),
}
"""The groups bear the names of the verdicts. The format `json` is not regular text: see `_json_verdicts`."""

_OUTPUT_ALONE = re.compile(r"\s*+\**+Output \((?:(?P<A>a)|(?P<B>b))\)\.?\**+\s*+")

_WRITTEN: dict[VerdictFormat, dict[Verdict, str]] = {
    form: dict(zip((Verdict.A, Verdict.B, Verdict.TIE), spellings, strict=True))
    for form, spellings in {
        "brackets": ("[[A]]", "[[B]]", "[[C]]"),
        "arrows": ("[[A>>B]]", "[[B>>A]]", "[[A=B]]"),
        "output": ("Output (a) is better.", "Output (b) is better.", "Both outputs are equally good."),
        "json": ('{"verdict": "A"}', '{"verdict": "B"}', '{"verdict": "tie"}'),
        "answer": ("<answer>[[A]]</answer>", "<answer>[[B]]</answer>", "<answer>[[C]]</answer>"),
    }.items()
}

_STRING = r'"(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_SCALAR = rf"(?:{_STRING}|-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+|true|false|null)"
_PAIR = rf"{_STRING}[ \t\r\n]*+:[ \t\r\n]*+{_SCALAR}[ \t\r\n]*+"
_JSON_OBJECT = re.compile(rf"\{{[ \t\r\n]*+{_PAIR}(?:,[ \t\r\n]*+{_PAIR})*+\}}")
_JSON_VALUES = {"A": Verdict.A, "B": Verdict.B, "tie": Verdict.TIE, "TIE": Verdict.TIE}

_THINKING_BLOCK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_END_OF_THINKING = "</think>"


CLOSING = "\n\nFinal verdict: "
"""What leads to a verdict that is asked for."""

_ONE_TOKEN_FOR_A_TIE: tuple[VerdictFormat, ...] = ("brackets", "json", "answer")
"""Where the first token that tells verdicts apart tells a tie as well: `[[A=B]]` begins as `[[A>>B]]` does."""


def without_thinking(text: str) -> str:
    """The text with every thinking block replaced by a space, so that nothing grows together across a block."""
    return _THINKING_BLOCK.sub(" ", text).rpartition(_END_OF_THINKING)[2]


def parse_verdict(text: str, form: VerdictFormat = "brackets", *, ties: bool = False) -> Verdict:
    """The verdict of one judgment (paper section 3, "Judgment Annotation"), in time linear in the text.

    The last verdict counts only where no other one contradicts it, so it is enough to ask which kinds occur.

    Args:
        text: the judgment, without its prompt: what the responses say is never a verdict.
        form: in which the prompt asks for the verdict; other formats are talk.
        ties: whether the prompt offers a tie. Where it does not, a judgment that ends in one is INVALID.
    """
    kinds = _kinds(text, form)
    if len(kinds) != 1 or (kinds == {Verdict.TIE} and not ties):
        return Verdict.INVALID
    return kinds.pop()


def says_verdict(text: str, form: VerdictFormat) -> bool:
    """Whether a judgment has a complete verdict, or several: one that contradicts itself has spoken, and is INVALID."""
    return bool(_kinds(text, form))


def _kinds(text: str, form: VerdictFormat) -> set[Verdict]:
    answer = without_thinking(text)
    if form == "json":
        return _json_verdicts(answer)
    if form == "output" and (alone := _OUTPUT_ALONE.fullmatch(answer)):
        return {Verdict(alone.lastgroup)}
    return {Verdict(found.lastgroup) for found in _PATTERNS[form].finditer(answer)}


def parse_verdicts(judgments: pl.Series, form: VerdictFormat = "brackets", *, ties: bool = False) -> pl.Series:
    """`parse_verdict` of a whole column of texts: "A", "B", "TIE", or null for INVALID (a null text has no verdict)."""
    verdicts = (parse_verdict(text or "", form, ties=ties) for text in judgments)
    return pl.Series("verdict", [None if v is Verdict.INVALID else v.value for v in verdicts], dtype=pl.String)


def written(verdict: Verdict, form: VerdictFormat) -> str:
    """The verdict A, B or TIE as the format writes it; `parse_verdict` reads it back."""
    return _WRITTEN[form][verdict]


def verdict_choices(form: VerdictFormat, *, ties: bool) -> tuple[str, ...]:
    """Every verdict that a judgment may end in, as the format writes it.

    Raises:
        ValueError: one token does not tell them apart.
    """
    if ties and form not in _ONE_TOKEN_FOR_A_TIE:
        raise ValueError(
            f"verdicts.elicit: missing draws a single token, and in the format {form} a tie begins as another verdict "
            f"does: set ties: false, or format: {', '.join(_ONE_TOKEN_FOR_A_TIE[:-1])} or {_ONE_TOKEN_FOR_A_TIE[-1]}"
        )
    return tuple(written(verdict, form) for verdict in (Verdict.A, Verdict.B, *([Verdict.TIE] if ties else [])))


def up_to_verdict(text: str, closing: str = CLOSING) -> str:
    """A judgment without a verdict, up to the verdict that it is asked for; what it was thinking aloud is ended."""
    thinks = text.rfind("<think>") > text.rfind(_END_OF_THINKING)
    return f"{text}\n{_END_OF_THINKING}{closing}" if thinks else text + closing


def swap(verdict: Verdict) -> Verdict:
    """The same opinion after the two responses changed places."""
    return {Verdict.A: Verdict.B, Verdict.B: Verdict.A}.get(verdict, verdict)


def verdict_of_position(position: Position) -> Verdict:
    """The verdict that calls the response at this position better: the right one where the chosen response stands."""
    return Verdict(position)


def _json_verdicts(answer: str) -> set[Verdict]:
    """The verdicts of all flat objects. A key may be repeated: every value counts, so a contradiction is seen."""
    pairs = [
        pair
        for found in _JSON_OBJECT.finditer(answer)
        for pair in json.loads(found[0], object_pairs_hook=list, parse_int=str, parse_float=str, strict=False)
    ]
    return {_JSON_VALUES[value] for key, value in pairs if key == "verdict" and value in _JSON_VALUES}


LOWEST, HIGHEST = 1, 10

_NUMBER = re.compile(r"\[\[(-?+[0-9]++(?:\.[0-9]++)?+)\]\]")
_RATINGS = {str(rating): rating for rating in range(LOWEST, HIGHEST + 1)}


def parse_rating(text: str) -> int | None:
    """The rating of one judgment, in time linear in the text; None where there is none, or two that differ.

    A number off the scale is no rating, but it contradicts one: `[[7]] … [[11]]` has none.
    """
    numbers = set(_NUMBER.findall(without_thinking(text)))
    return _RATINGS.get(numbers.pop()) if len(numbers) == 1 else None


def parse_ratings(judgments: pl.Series) -> pl.Series:
    """`parse_rating` of a whole column of texts, as Int64; null where it is invalid (a null text has no rating)."""
    return pl.Series("rating", [parse_rating(text or "") for text in judgments], dtype=pl.Int64)
