"""The second reading agrees with the first on whatever a judge may write."""

from typing import get_args

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selftaught_assets.method.reparsing import read_again, read_ratings_again
from selftaught_assets.method.verdicts import VerdictFormat, parse_ratings, parse_verdicts

PIECES = [
    "[[A]]",
    "[[B]]",
    "[[C]]",
    "[[A>>B]]",
    "[[A>B]]",
    "[[B<A]]",
    "[[A=B]]",
    "[[",
    "]]",
    "[",
    "]",
    "<think>",
    "</think>",
]
PIECES += ["A", "\n", " so ", "[[a]]", "[[7]]", "[[10]]", "[[11]]", "[[7.5]]", "[[-3]]", "[[07]]", "[[7", "[[1e1]]"]
PIECES += ["[[+7]]", "[[7.]]", "[[.5]]", "[[ 7]]", "[[7.5.1]]", "[[٧]]", "[[-]]"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(TEXTS, st.sampled_from(get_args(VerdictFormat)), st.booleans())
@example("<think>[[A]]</think>[[B]]", "brackets", False)
@example("[[A]] no </think> [[B]]", "brackets", False)
@example("<think>[[B]]", "brackets", False)
def test_both_readings_of_a_verdict_agree(text: str, form: VerdictFormat, ties: bool):
    texts = pl.Series([text, None], dtype=pl.String)
    assert read_again(texts, form, ties=ties).to_list() == parse_verdicts(texts, form, ties=ties).to_list()


@given(TEXTS)
@example("[[7]] … [[11]]")
@example("[[[7]]")
@example("[[7]] [[1e1]]")
@example("[[7]] [[7.]]")
def test_both_readings_of_a_rating_agree(text: str):
    texts = pl.Series([text, None], dtype=pl.String)
    assert read_ratings_again(texts).to_list() == parse_ratings(texts).to_list()


@pytest.mark.parametrize(("text", "verdict"), [("so [[A]]", "A"), ("[[B]]", "B"), ("[[A]] [[B]]", None), ("A", None)])
def test_the_second_reading_reads(text: str, verdict: str | None):
    assert read_again(pl.Series([text]), "brackets", ties=False).to_list() == [verdict]
