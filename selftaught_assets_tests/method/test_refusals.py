"""Refusals are told by how a response begins."""

import polars as pl
import pytest

from selftaught_assets.method.diagnostics import refuses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I am sorry, I cannot do this.", True),
        ("Sorry, I can’t assist.", True),
        ("Unfortunately I am unable to answer.", True),
        ("I cannot provide that.", True),
        ("As an AI language model, I do not have opinions.", True),
        ("I must decline to help.", True),
        ("I can't wait to tell you!", False),
        ("Sorry for the delay, here it is.", False),
        ("I'm sorry for your loss. Here is a poem.", False),
        ("He said: I'm sorry, but I can't help with that.", False),
        ("", False),
        (None, False),
    ],
)
def test_a_refusal_is_told_by_its_beginning(text: str | None, expected: bool):
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    assert frame.select(refuses("text")).item() is expected
