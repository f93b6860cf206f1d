import polars as pl
import pytest

from selftaught_assets.method.identity import is_empty, normalized_instruction, with_single_spaces


def value(expression: pl.Expr, text: str | None):
    return pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(expression).item()


@pytest.mark.parametrize("text", [None, "", "  \n\t ", "\u00a0\u2003"])
def test_white_space_alone_is_empty(text):
    assert value(is_empty("text"), text) is True


@pytest.mark.parametrize("text", ["a", " . ", "0"])
def test_anything_that_can_be_read_is_not_empty(text):
    assert value(is_empty("text"), text) is False


def test_line_breaks_and_runs_of_spaces_read_as_one_space():
    assert value(with_single_spaces("text"), "  a\n\n b\tc ") == "a b c"


def test_case_makes_no_other_instruction():
    assert value(normalized_instruction("text"), " Sort  ÄPFEL") == "sort äpfel"
