import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import parse_rating, parse_ratings

PIECES = ["[[7]]", "[[10]]", "[[11]]", "[[7.5]]", "[[", "]]", "7", "-", ".", "<think>", "</think>", " ", "\n", "é"]
judgments = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("It is good. Rating: [[7]]", 7),
        ("[[1]]", 1),
        ("[[10]]", 10),
        ("[[7]], as said: [[7]]", 7),
        ("<think>[[3]]</think>[[8]]", 8),
        ("[[7]] no, [[8]]", None),
        ("[[7]] no, [[11]]", None),
        ("[[0]]", None),
        ("[[11]]", None),
        ("[[-7]]", None),
        ("[[7.5]]", None),
        ("[[07]]", None),
        ("[[٧]]", None),
        ("[[7/10]]", None),
        ("7 out of 10", None),
        ("[[7", None),
        ("[[A]]", None),
        ("", None),
    ],
)
def test_a_rating_is_a_whole_number_on_the_scale_in_double_brackets(text, rating):
    assert parse_rating(text) == rating


@given(texts=st.lists(st.none() | judgments, max_size=10))
def test_a_column_is_parsed_like_each_of_its_texts(texts):
    parsed = parse_ratings(pl.Series("judgment", texts, dtype=pl.String))
    assert parsed.to_list() == [parse_rating(text or "") for text in texts]
    assert parsed.dtype == pl.Int64


@pytest.mark.parametrize("piece", ["[[", "[[1", "1", "[[1.", "[[7]]", "[[-", "<think>"])
def test_hostile_texts_take_linear_time(piece):
    text = "[[" + piece * (1_000_000 // len(piece))
    started = time.perf_counter()
    parse_rating(text)
    assert time.perf_counter() - started < 3.0, "a million characters; quadratic time would be minutes"
