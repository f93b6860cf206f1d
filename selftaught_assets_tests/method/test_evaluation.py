import polars as pl
import pytest

from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.scoring.accuracy import VERDICT_COLUMNS, verdict_table

REQUESTS = benchmark_requests(
    pl.DataFrame(
        {
            "benchmark": "b",
            "subset": "s",
            "item_id": ["1", "2"],
            "group_id": ["1", "2"],
            "instruction_id": ["i", "i"],
            "variant": None,
            "reference": None,
            "instruction": "x",
            "response_a": "left",
            "response_b": "right",
            "label": ["A", "B"],
        }
    )
)


def evaluated(*texts: str, ends: tuple[str, ...] = (), **reading: object) -> pl.DataFrame:
    """Every request answered with the same samples, handed over in the reverse order; they stop, or end like `ends`."""
    reasons = dict(enumerate(ends))
    completions = [
        {"request_id": request, "sample_index": index, "text": text, "finish_reason": reasons.get(index, "stop")}
        for request in REQUESTS["request_id"]
        for index, text in enumerate(texts)
    ]
    return verdict_table(REQUESTS, pl.DataFrame(completions[::-1]), decoding="vote", judge="digest", **reading)


def test_there_is_one_verdict_for_each_request_in_their_order():
    table = evaluated("[[A]]")
    assert tuple(table.columns) == VERDICT_COLUMNS
    assert table.select("item_id", "order").equals(REQUESTS.select("item_id", "order"))


def test_the_majority_decides_and_invalid_votes_are_counted():
    table = evaluated("[[B]]", "[[A]]", "[[A]]", "?")
    counts = ["votes_a", "votes_b", "votes_tie", "votes_invalid", "verdict"]
    assert table.select(counts).unique().rows() == [(2, 1, 0, 1, "A")]


def test_a_tie_goes_to_the_first_sample_and_not_to_the_first_row():
    assert evaluated("[[B]]", "[[A]]")["verdict"].to_list() == ["B"] * 4


def test_the_score_says_whether_the_verdict_is_right_in_its_order():
    table = evaluated("[[A]]")
    assert table["label"].to_list() == ["A", "B", "B", "A"]
    assert table["score"].to_list() == [1.0, 0.0, 0.0, 1.0]


def test_a_pair_without_a_valid_vote_has_no_verdict_and_no_point():
    table = evaluated("?", "[[A]] [[B]]")
    assert table.select("verdict", "score").unique().rows() == [(None, 0.0)]


def test_a_tie_can_win_the_vote_where_it_is_offered_and_is_not_right():
    table = evaluated("[[C]]", "[[A]]", "[[C]]", ties=True)
    assert table.select("votes_a", "votes_tie", "votes_invalid", "verdict", "score").unique().rows() == [
        (1, 2, 0, "TIE", 0.0)
    ]
    assert evaluated("[[C]]", "[[A]]", "[[C]]").select("votes_tie", "votes_invalid", "verdict").row(0) == (0, 2, "A")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (("stop", "stop"), "stop"),
        (("stop", "length"), "length"),
        (("prompt_too_long", "prompt_too_long"), "prompt_too_long"),
    ],
)
def test_the_table_tells_how_the_judgments_of_a_verdict_ended(ends: tuple[str, ...], told: str) -> None:
    assert evaluated("[[A]]", "", ends=ends)["finish_reason"].to_list() == [told] * 4


def test_votes_are_read_in_the_format_that_was_asked_for():
    assert evaluated("[[B]]", "[[A>B]]", form="arrows")["verdict"].to_list() == ["A"] * 4
