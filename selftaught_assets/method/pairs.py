"""Preference pairs with a known label, made by the *modified instruction* strategy (paper section 3).

Markers that tell the parts of a generated text, and the decoration that models put around them.

Decoration that stayed in the response would be a sign of every response that was made so. What surrounds both parts
alike is decoration; what only one of them has is its content.

Paper section 3, "Response Pair Construction": the response to the instruction is the chosen one; the response to a
modified instruction, close to it but asking for something else, is the rejected one when it is judged against the
original. The label is known by construction, and this is only as true as the two instructions differ: hence the
rules.
"""

import re
import textwrap
from typing import NamedTuple

import polars as pl

from selftaught_assets.method.identity import is_empty, normalized_instruction, row_ids, with_single_spaces
from selftaught_assets.method.verdicts import without_thinking

_NAMES = "instruction|response"

CLOSING = (
    rf"\[\[[ \t]*/[ \t]*(?:{_NAMES}|end)?[ \t]*\]\]"
    rf"|\[\[[ \t]*(?:end|stop|done|eof)(?:[ \t_-]+(?:of[ \t_-]+)?(?:the[ \t_-]+)?(?:{_NAMES}))?[ \t]*\]\]"
    rf"|\[/(?:{_NAMES})\]"
    rf"|</(?:{_NAMES})>"
)
"""Regular expression (same meaning in Python and in Polars, case aside) of what closes a part. Nobody asks for it, but
models like to close what they opened."""

_OPENING_MARKER = re.compile(rf"\\?\[\\?\[[ \t]*(?P<name>{_NAMES})[ \t]*\\?\]\\?\]", re.IGNORECASE)
_CLOSING_MARKER = re.compile(CLOSING, re.IGNORECASE)

_LAYOUT = re.compile(r"[ \t]*(?:>[ \t]*)*(?:(?:[-*+•]|\(?(?:\d{1,2}|[a-zA-Z])[.)])[ \t]+)?(?:#{1,6}[ \t]*)?")
"""What makes a line a quotation, a list item or a heading."""
_LABEL = re.compile(
    rf"(?:\w+[ \t]+)?(?:{_NAMES}|answer)[ \t]*[:：]?|(?:step|part)?[ \t]*\d{{1,2}}[.):]?", re.IGNORECASE
)
"""A model's own name, or number, for what follows the marker."""
_OPENER = re.compile(r"<(?P<tag>\w+)>|[*_`~\"'“„«‘(\[{<|]")
_MIRRORED = {"(": ")", "[": "]", "{": "}", "<": ">", "“": "”", "„": "“", "«": "»", "‘": "’"}
_BLANK_OR_COLON = re.compile(r"[ \t]*[:：]?[ \t]*")
_SEPARATOR = re.compile(r"[ \t]*(?:[:：–—]|[=-]>)(?=[\s\w])")
_REST_OF_LINE = re.compile(r"[.,;!$]{0,3}(?:[ \t*_~:：=–—|#-]|[^\w\s\x00-\x7f])*(?=\n\s*\S)")
"""To the end of a line that is not the last: ASCII that draws lines or emphasis, and symbols outside ASCII."""

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_BLOCK = re.compile(r"\s*(?:```|~~~)[ \t]*\w*[ \t]*\n(?P<inside>.*)\n[ \t]*(?:```|~~~)\s*", re.DOTALL)
_RULE = r"[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*"
_LEADING_RULE = re.compile(rf"\s*{_RULE}\n")
_TRAILING_RULE = re.compile(rf"\n{_RULE}\s*\Z")
_OWN_NAME = {name: re.compile(rf"(\**){name}\**[:：]\1[ \t]*\n*", re.IGNORECASE) for name in _NAMES.split("|")}
"""The marker's word once more, as a label before the text."""
_ITEM = re.compile(r"(?:[-*+•>]|\d{1,2}[.)])[ \t]+(?P<text>[^\n]*)")
_BRACKETED_END = re.compile(rf"\n[ \t]*[\[(<]+/?end(?: of (?:{_NAMES}))?[\])>]+\s*\Z", re.IGNORECASE)
_LAST_TAG = re.compile(r"</(\w+)>\Z")
_ENCLOSING = ("**", "__", "*", "_", "`", '"', "'", "“", "«", "‘", "(", "[", "{", "<")
_UNPAIRED = ("**", "__", "`", '"')


class Parts(NamedTuple):
    """What stands behind the two markers."""

    instruction: str
    response: str
    is_clean: bool
    """False if decoration cannot be distinguished from the response."""


class _Marker(NamedTuple):
    """A marker together with its decoration."""

    start: int
    end: int
    layout: str
    """Signs of a quotation, a list item or a heading at the beginning of its line."""
    unclosed: str
    """Closing emphasis that does not follow the marker; it may stand at the end of the part."""


def parts_of(text: str) -> Parts | None:
    """The parts of a text that consists of `[[instruction]]`, a text, `[[response]]` and a text.

    What stands before the first marker is ignored, and so is what follows a closing one. None if a marker is missing,
    or they stand in the other order. A marker that occurs again stays in its part.
    """
    text = text.replace("\r\n", "\n")
    markers = list(_OPENING_MARKER.finditer(text))
    names = [marker["name"].lower() for marker in markers]
    if "instruction" not in names or "response" not in names[names.index("instruction") :]:
        return None
    first = names.index("instruction")
    second = names.index("response", first)
    opened = _decorated(text, markers[first], 0)
    answered = _decorated(text, markers[second], opened.end)
    head = text[: opened.start]
    instruction = _part(text[opened.end : answered.start], "instruction", opened)
    response = _part(text[answered.end :], "response", answered)
    instruction, response = _without_fences(head, instruction, response)
    instruction, response = _without_rules(head, instruction, response)
    instruction, response = _without_enclosing(*_without_bullets(instruction, response))
    return Parts(instruction, response, not _is_unpaired(response))


def _decorated(text: str, found: re.Match[str], after: int) -> _Marker:
    """A marker with its decoration: all before it on its line if that says nothing, else emphasis that touches it.

    Args:
        text: all of it.
        found: the bare marker.
        after: what stands earlier belongs to an earlier marker.
    """
    line = max(text.rfind("\n", 0, found.start()) + 1, after)
    before = text[line : found.start()]
    layout = _LAYOUT.match(before)[0] if line == 0 or text[line - 1] == "\n" else None
    lead = before if layout is None else before[len(layout) :]
    alone = layout is not None and not re.search(r"\w", _LABEL.sub("", _OPENER.sub("", lead), count=1))
    openers = list(_OPENER.finditer(lead))
    if not alone:
        openers = _touching(openers, len(lead))
    closers = [f"</{opener['tag']}>" if opener["tag"] else _MIRRORED.get(opener[0], opener[0]) for opener in openers]
    closers.reverse()
    end = found.end()
    while closers and text.startswith(closers[0], at := _BLANK_OR_COLON.match(text, end).end()):
        end = at + len(closers.pop(0))
    if separator := _SEPARATOR.match(text, end):
        end = separator.end()
    if not closers and (rest := _REST_OF_LINE.match(text, end)):
        end = rest.end()
    if alone:
        return _Marker(line, end, layout, "".join(closers))
    start = line + openers[0].start() if openers else found.start()
    return _Marker(start, end, "", "".join(closers))


def _touching(openers: list[re.Match[str]], end: int) -> list[re.Match[str]]:
    """Those of them that stand without a gap before a place."""
    touching: list[re.Match[str]] = []
    for opener in reversed(openers):
        if opener.end() != end:
            break
        touching.insert(0, opener)
        end = opener.start()
    return touching


def _part(text: str, name: str, marker: _Marker) -> str:
    """A part up to what closes it, without its own name, and without the signs that its lines share with its marker."""
    closing = _CLOSING_MARKER.search(text)
    if closing and not _OPENING_MARKER.search(text, closing.end()):
        text = _TRAILING_RULE.sub("", text[: _decorated(text, closing, 0).start])
    text = _BRACKETED_END.sub("", text)
    lines = text.split("\n")
    if ">" in marker.layout and all(line.lstrip().startswith(">") for line in lines if line.strip()):
        text = "\n".join(re.sub(r"^[ \t]*> ?", "", line) for line in lines)
    if marker.layout.strip():
        text = textwrap.dedent(text)
    text = text.strip().removesuffix(marker.unclosed).strip()
    return text[label.end() :] if (label := _OWN_NAME[name].match(text)) else text


def _without_fences(head: str, instruction: str, response: str) -> tuple[str, str]:
    """Without code fences that hold a part together with its marker, or each part alone."""
    around = _fences(head) % 2 == 1
    instruction, opened = _without_last_fence(instruction)
    if around or opened:
        response, _ = _without_last_fence(response, anywhere=True)
    blocks = _BLOCK.fullmatch(instruction), _BLOCK.fullmatch(response)
    if all(blocks):
        return blocks[0]["inside"].strip(), blocks[1]["inside"].strip()
    return instruction, response


def _without_last_fence(part: str, *, anywhere: bool = False) -> tuple[str, bool]:
    """A part without an empty block at its end, and without a last fence that pairs with none in it."""
    fences = list(_FENCE.finditer(part))
    if len(fences) % 2 and (anywhere or fences[-1].end() == len(part)):
        return part[: fences[-1].start()].rstrip(), True
    if len(fences) >= 2 and fences[-1].end() == len(part) and not part[fences[-2].end() : fences[-1].start()].strip():
        return part[: fences[-2].start()].rstrip(), True
    return part, False


def _fences(text: str) -> int:
    return sum(1 for _ in _FENCE.finditer(text))


def _without_rules(head: str, instruction: str, response: str) -> tuple[str, str]:
    """Without lines that are drawn between the parts, or below both markers."""
    drawn = bool(_TRAILING_RULE.search(instruction) or _TRAILING_RULE.search(f"\n{head}"))
    instruction = _TRAILING_RULE.sub("", instruction)
    if drawn:
        response = _TRAILING_RULE.sub("", response)
    if _LEADING_RULE.match(instruction) and _LEADING_RULE.match(response):
        instruction, response = _LEADING_RULE.sub("", instruction, count=1), _LEADING_RULE.sub("", response, count=1)
    return instruction.strip(), response.strip()


def _without_bullets(instruction: str, response: str) -> tuple[str, str]:
    """Without the bullet, number or quotation mark before a single line, where both parts are such a line."""
    items = _ITEM.fullmatch(instruction), _ITEM.fullmatch(response)
    return (items[0]["text"], items[1]["text"]) if all(items) else (instruction, response)


def _without_enclosing(instruction: str, response: str) -> tuple[str, str]:
    """Without quotes, brackets or emphasis in which both parts stand."""
    for opener in _ENCLOSING:
        closer = _MIRRORED.get(opener, opener)
        if all(_is_enclosed(part, opener, closer) for part in (instruction, response)):
            inside = (part[len(opener) : -len(closer)].strip() for part in (instruction, response))
            return _without_enclosing(*inside)
    return instruction, response


def _is_enclosed(text: str, opener: str, closer: str) -> bool:
    if not (text.startswith(opener) and text.endswith(closer)) or len(text) <= len(opener) + len(closer):
        return False
    inside = text[len(opener) : -len(closer)]
    return not (opener in inside or closer in inside or inside[0].isspace() or inside[-1].isspace())


def _is_unpaired(text: str) -> bool:
    """Whether a text begins or ends with emphasis, a quote or a bracket that has no other half, or has a lone fence."""
    unpaired = any((text.startswith(sign) or text.endswith(sign)) and text.count(sign) % 2 for sign in _UNPAIRED)
    brackets = any(text.endswith(closer) and text.count(closer) > text.count(opener) for opener, closer in ("[]", "{}"))
    cell = text.endswith("|") and not text.startswith("|")
    tag = _LAST_TAG.search(text)
    return unpaired or brackets or cell or (tag is not None and f"<{tag[1]}" not in text) or _fences(text) % 2 == 1


STRATEGY = "modified_instruction"
INSTRUCTION_MARKER = "[[instruction]]"
RESPONSE_MARKER = "[[response]]"

TEMPLATE_LEFTOVER = (
    rf"(?i:\[\[[ \t]*(?:instruction|response)[ \t]*\]\]|{CLOSING})"
    r"|\{\{-?\s*(?:instruction|response|response_a|response_b)\b"
    r"|<[|｜][^|｜<>\s]{1,40}[|｜]>"
    r"|\[/?INST\]"
    r"|<</?SYS>>"
    r"|<(?:start|end)_of_turn>"
)
"""Regular expression (same meaning in Python and in Polars) of what a template leaves behind in a generated text: our
markers, an unfilled variable, tokens of chat templates."""

DROP_REASONS = (
    "failed",
    "prompt_too_long",
    "chosen_empty",
    "modified_instruction_missing",
    "modified_instruction_unchanged",
    "rejected_empty",
    "responses_equal",
    "truncated",
    "template_leftover",
)
"""Why a pair is unusable. If several apply, the first in this order is reported."""

_CONTENT = ("instruction_id", "instruction", "modified_instruction", "chosen", "rejected", "strategy", "generator")
_FINISH = ("chosen_finish", "modified_finish", "rejected_finish")
COLUMNS = ("pair_id", *_CONTENT, *_FINISH, "drop_reason")


class ModifiedPair(NamedTuple):
    """What the one-call form returns: the modified instruction and the response to it."""

    instruction: str
    response: str


def split_modified_pair(text: str) -> ModifiedPair | None:
    """Takes the completion of `prompts.modified_pair_messages` apart (paper section 3, "Response Pair Construction").

    Thinking blocks and anything before the first marker are ignored; decoration of a marker goes with it (`markers`).
    None if a marker is missing or they come in the wrong order. A marker that occurs again stays in the text, and so
    does one whose decoration cannot be told from the response: `build_pairs` finds it there.
    """
    parts = parts_of(without_thinking(text))
    if parts is None:
        return None
    return ModifiedPair(parts.instruction, parts.response if parts.is_clean else f"{RESPONSE_MARKER}\n{parts.response}")


def build_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """The table of pairs: every row of the input with a `pair_id` and a `drop_reason` (null = kept).

    Paper section 3, "Response Pair Construction". Case is ignored where instructions are compared, since a change of
    case asks for nothing else, and respected where responses are, since it may be all that was asked for; white space
    is ignored in both. Only generated texts are searched for leftovers: what a user's instruction holds is data.

    Args:
        frame: columns instruction_id, instruction, modified_instruction, chosen, rejected (the texts may be null
            except instruction), chosen_finish, modified_finish, rejected_finish (an engine's finish reasons; a call
            that was not made has null), generator (digest) and strategy.

    Returns:
        `COLUMNS`, one row for each row of `frame`, in the same order.
    """
    unchanged = normalized_instruction("modified_instruction") == normalized_instruction("instruction")
    equal = with_single_spaces("chosen") == with_single_spaces("rejected")
    generated = ("modified_instruction", "chosen", "rejected")
    leftover = pl.any_horizontal(pl.col(name).str.contains(TEMPLATE_LEFTOVER) for name in generated)
    finished = {
        reason: pl.any_horizontal((pl.col(name) == reason).fill_null(False) for name in _FINISH)
        for reason in ("failed", "prompt_too_long", "length")
    }
    faults = {
        "failed": finished["failed"],
        "prompt_too_long": finished["prompt_too_long"],
        "chosen_empty": is_empty("chosen"),
        "modified_instruction_missing": is_empty("modified_instruction"),
        "modified_instruction_unchanged": unchanged,
        "rejected_empty": is_empty("rejected"),
        "responses_equal": equal,
        "truncated": finished["length"],
        "template_leftover": leftover,
    }
    reason = pl.coalesce(pl.when(faults[name]).then(pl.lit(name)) for name in DROP_REASONS)
    ids = pl.Series("pair_id", row_ids("pair", *(frame[name] for name in _CONTENT)), dtype=pl.String)
    return frame.with_columns(ids, reason.alias("drop_reason")).select(COLUMNS)
