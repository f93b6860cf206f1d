"""The parser reads whatever a judge may write as a second reading does, which is written without it.

The second reading cuts texts apart where the parser has regular expressions. It knows the formats whose verdicts are a
handful of literal strings, and ratings.
"""

from hypothesis import example, given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import HIGHEST, LOWEST, Verdict, VerdictFormat, parse_rating, parse_verdict

LETTERS = {"[[A]]": Verdict.A, "[[B]]": Verdict.B, "[[C]]": Verdict.TIE}
ARROWS = {
    **dict.fromkeys(("[[A>>B]]", "[[A>B]]", "[[B<<A]]", "[[B<A]]"), Verdict.A),
    **dict.fromkeys(("[[B>>A]]", "[[B>A]]", "[[A<<B]]", "[[A<B]]"), Verdict.B),
    **dict.fromkeys(("[[A=B]]", "[[B=A]]"), Verdict.TIE),
}
RATINGS = {str(rating): rating for rating in range(LOWEST, HIGHEST + 1)}

OTHERS = ["[[", "]]", "[", "]", "<think>", "</think>", "<answer>", "</answer>", "A", "\n", " so ", "[[a]]", "[[A>C]]"]
NUMBERS = ["7", "10", "11", "7.5", "-3", "07", "1e1", "+7", "7.", ".5", " 7", "7.5.1", "٧", "-", ""]
PIECES = [*LETTERS, *ARROWS, *OTHERS, *(f"[[{number}]]" for number in NUMBERS), "[[7"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def spoken(text: str) -> str:
    """The text without what is thought aloud."""
    kept = []
    while "<think>" in text:
        before, _, thought = text.partition("<think>")
        kept.append(before)
        text = thought.partition("</think>")[2]
    return " ".join([*kept, text]).split("</think>")[-1]


def verdict_read_again(text: str, form: VerdictFormat, ties: bool) -> Verdict:
    answer = spoken(text)
    if form == "answer":
        tagged = [piece.partition("</answer>") for piece in answer.split("<answer>")[1:]]
        said = {LETTERS[inner.strip()] for inner, closed, _ in tagged if closed and inner.strip() in LETTERS}
    else:
        said = {
            verdict for literal, verdict in (LETTERS if form == "brackets" else ARROWS).items() if literal in answer
        }
    if len(said) != 1 or (said == {Verdict.TIE} and not ties):
        return Verdict.INVALID
    return said.pop()


def rating_read_again(text: str) -> int | None:
    pieces = [piece.partition("]]") for piece in spoken(text).split("[[")[1:]]
    numbers = {inner.lstrip("[") for inner, closed, _ in pieces if closed and is_plain_decimal(inner.lstrip("["))}
    return RATINGS.get(numbers.pop()) if len(numbers) == 1 else None


def is_plain_decimal(number: str) -> bool:
    parts = number.removeprefix("-").split(".")
    return len(parts) <= 2 and all(part.isascii() and part.isdigit() for part in parts)


@given(TEXTS, st.sampled_from(["brackets", "arrows", "answer"]), st.booleans())
@example("<think>[[A]]</think>[[B]]", "brackets", False)
@example("[[A]] no </think> [[B]]", "brackets", False)
@example("<think>[[B]]", "brackets", False)
@example("[[A<think></think>]]", "brackets", False)
@example("[[A>>B]] or [[B<A]]", "arrows", False)
@example("[[B]]<answer><answer> [[A]]\n</answer>", "answer", False)
def test_both_readings_of_a_verdict_agree(text: str, form: VerdictFormat, ties: bool):
    assert parse_verdict(text, form, ties=ties) == verdict_read_again(text, form, ties)


@given(TEXTS)
@example("[[7]] … [[11]]")
@example("[[[7]]")
@example("[[7<think></think>]]")
@example("[[7]] [[1e1]]")
@example("[[7]] [[7.]]")
def test_both_readings_of_a_rating_agree(text: str):
    assert parse_rating(text) == rating_read_again(text)
