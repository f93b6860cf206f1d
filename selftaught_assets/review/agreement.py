"""How far the people who reviewed rows by hand agree with the labels.

Belongs here: from the files of answers to figures. Not here: the arithmetic (`method/reviews.py`).
"""

from typing import Any

import polars as pl

from selftaught_assets.method.reviews import ANSWERS, agreement_table
from selftaught_assets.review.answers import read_answers
from selftaught_assets.storage.layout import Layout

_SCHEMA = {
    "kind": pl.String,
    "iteration": pl.String,
    "id": pl.String,
    "reviewer": pl.String,
    "answer": pl.String,
    "agrees": pl.Boolean,
}


def agreement(layout: Layout) -> list[dict[str, Any]]:
    """The agreement of all reviewers with the labels, by kind and iteration.

    Returns:
        One dict for each kind and iteration that somebody reviewed: kind, iteration, n (answers that are sure), agreed,
        share (None where n is 0), low and high (Wilson, 95 %), unsure.

    Raises:
        UserError: a line of a file is damaged.
    """
    answers = [answer.model_dump(include=set(_SCHEMA)) for kind in ANSWERS for answer in read_answers(layout, kind)]
    return agreement_table(pl.DataFrame(answers, schema=_SCHEMA)).to_dicts()
