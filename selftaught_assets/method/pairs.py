"""Preference pairs with a known label, made by the *modified instruction* strategy.

Belongs here: how the answer of the one-call form is taken apart, which pairs are unusable and why. Not here: how the
texts are asked for (`prompts`) and sampled (engines).

Paper section 3, "Response Pair Construction": the response to the instruction is the chosen one; the response to a
modified instruction, close to it but asking for something else, is the rejected one when it is judged against the
original. The label is known by construction, and this is only as true as the two instructions differ: hence the rules.
"""

from typing import NamedTuple

import polars as pl

from selftaught_assets.method.identity import row_ids
from selftaught_assets.method.markers import CLOSING, parts_of
from selftaught_assets.method.texts import is_empty, normalized_instruction, with_single_spaces
from selftaught_assets.method.verdicts import without_thinking

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
"""Why a pair is unusable. Where several apply, the first in this order is reported."""

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
