"""Responses that refuse to answer.

Belongs here: how a refusal is told. Not here: how many are too many (checks).
"""

import polars as pl

_CANNOT = r"(?:can(?: ?no|['’])t|won['’]t|(?:am |['’]m )?(?:unable|not able))"
_TASK = r"(?:help|assist|answer|provide|comply|fulfil|do that|create|write|generate|support|engage|discuss)"

REFUSAL = (
    r"(?i)^\W*(?:"
    rf"(?:i['’]?m|i am)(?: very| so| really)? sorry\b[^.!?]{{0,40}}\b(?:but\b|{_CANNOT})"
    rf"|(?:sorry|unfortunately|i apologi[sz]e|my apologies)\b[^.!?]{{0,40}}\bi ?{_CANNOT}"
    rf"|i(?: {_CANNOT}| must decline)(?: to)? {_TASK}"
    rf"|as an? (?:ai|(?:large )?language model|artificial intelligence)\b[^.!?]{{0,80}}"
    rf"\b(?:{_CANNOT}|do(?: not|n['’]t))"
    r")"
)
"""Regular expression of how a response begins that refuses, in English: other languages are not recognised."""


def refuses(column: str) -> pl.Expr:
    """True where the text begins like a refusal; a refusal that is talked about later is none."""
    return pl.col(column).fill_null("").str.contains(REFUSAL)
