"""The one parser of ratings: from the text of a judgment of a single response to a number from 1 to 10.

Belongs here: what a rating is and how it is read. Not here: the prompt that asks for one, and verdicts on two responses
(`verdicts`).

A rating is written `[[7]]`, as MT-Bench does for single responses. The rules are those of verdicts: only a complete one
counts, two different ones contradict each other, thinking does not count, and nothing is guessed or rounded.
"""

import re

import polars as pl

from selftaught_assets.method.verdicts import without_thinking

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
