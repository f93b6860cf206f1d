import json
import re
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import (
    Verdict,
    parse_verdict,
    parse_verdicts,
    swap,
    verdict_of_position,
    without_thinking,
)

REAL_JUDGMENTS = Path(__file__).parents[3] / "shared" / "data" / "judge_texts" / "mtbench_gpt4_pair.jsonl"
PIECES = [
    "[[A]]",
    "[[B]]",
    "[[C]]",
    "[[",
    "]]",
    "A",
    "B",
    "<think>",
    "</think>",
    "<think",
    "think>",
    "\n",
    " ",
    "é",
    "x",
]
judgments = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(
    alphabet=st.characters(exclude_categories=["Cs"])
)
spoken = st.text(alphabet="AB[ ]x\n").filter(lambda text: "[[A]]" not in text and "[[B]]" not in text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is right. [[A]]", Verdict.A),
        ("[[B]]", Verdict.B),
        ("[[A]] and once more [[A]]", Verdict.A),
        ("[[A]] no, [[B]]", Verdict.INVALID),
        ("[[B]] … [[A]] … [[B]]", Verdict.INVALID),
        ("", Verdict.INVALID),
        ("Response A is clearly better.", Verdict.INVALID),
        ("[[A]", Verdict.INVALID),
        ("[A]]", Verdict.INVALID),
        ("[[a]]", Verdict.INVALID),
        ("[[A>>B]]", Verdict.INVALID),
        ("[[C]]", Verdict.INVALID),
        ("[[B]] and then [[A", Verdict.B),
        ("[[[A]]]", Verdict.A),
        ("**[[A]]**\n", Verdict.A),
    ],
)
def test_the_last_complete_verdict_counts_unless_another_contradicts_it(text, verdict):
    assert parse_verdict(text) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think>[[B]]</think>[[A]]", Verdict.A),
        ("[[A]]<think>or [[B]]?</think>", Verdict.A),
        ("<think>[[A]]</think>", Verdict.INVALID),
        ("<think>[[A]]", Verdict.INVALID),
        ("[[A]] <think> [[B]]", Verdict.A),
        ("opened by the prompt: [[B]]</think>[[A]]", Verdict.A),
        ("[[B]]</think>", Verdict.INVALID),
        ("<think>a</think>[[B]]<think>[[A]]</think>", Verdict.B),
        ("<think><think>[[B]]</think>[[B]]</think>[[A]]", Verdict.A),
        ("[[<think></think>A]]", Verdict.INVALID),
        ("<thi<think></think>nk>[[A]]", Verdict.A),
    ],
)
def test_what_is_said_while_thinking_is_no_verdict(text, verdict):
    assert parse_verdict(text) is verdict


@given(before=spoken, verdict=st.sampled_from([Verdict.A, Verdict.B]), after=spoken)
def test_a_single_verdict_is_found_wherever_it_stands(before, verdict, after):
    assert parse_verdict(f"{before}. [[{verdict}]] .{after}") is verdict


@given(text=judgments)
def test_exchanging_the_letters_of_a_judgment_swaps_its_verdict_and_nothing_else(text):
    exchanged = re.sub(r"\[\[([AB])\]\]", lambda found: "[[B]]" if found[1] == "A" else "[[A]]", text)
    assert parse_verdict(exchanged) is swap(parse_verdict(text))


@given(text=judgments)
def test_thinking_in_front_changes_no_verdict(text):
    assert parse_verdict(f"<think>[[A]] [[B]]</think>{text}") is parse_verdict(text)


@given(texts=st.lists(st.none() | judgments, max_size=12))
def test_a_column_is_parsed_like_each_of_its_texts(texts):
    expected = [parse_verdict(text or "") for text in texts]
    parsed = parse_verdicts(pl.Series("judgment", texts, dtype=pl.String))
    assert parsed.to_list() == [None if verdict is Verdict.INVALID else verdict.value for verdict in expected]


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think></think>", "[[", "[[A]]", "<", "<think></think"])
def test_hostile_texts_take_linear_time(piece):
    text = piece * (4_000_000 // len(piece))
    started = time.perf_counter()
    parse_verdict(text)
    parse_verdicts(pl.Series("judgment", [text]))
    assert time.perf_counter() - started < 5.0, "four million characters; quadratic time would be hours"


@given(text=judgments)
def test_no_thinking_is_left(text):
    assert "</think>" not in without_thinking(text)
    assert "<think>" not in without_thinking(text)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_swapping_twice_changes_nothing(verdict):
    assert swap(swap(verdict)) is verdict


def test_an_invalid_verdict_stays_invalid_when_the_responses_are_swapped():
    assert [swap(verdict) for verdict in (Verdict.A, Verdict.B, Verdict.INVALID)] == [
        Verdict.B,
        Verdict.A,
        Verdict.INVALID,
    ]


def test_the_right_verdict_names_the_place_of_the_chosen_response():
    assert [verdict_of_position("A"), verdict_of_position("B")] == [Verdict.A, Verdict.B]


def real_judgments() -> list[dict[str, str]]:
    if not REAL_JUDGMENTS.is_file():
        pytest.skip("the shared real judgments are not on this machine")
    with REAL_JUDGMENTS.open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def test_real_judgments_for_a_side_are_read_as_their_source_recorded_them():
    decided = [row for row in real_judgments() if row["expected"] in ("A", "B")]
    assert len(decided) == 122
    assert [parse_verdict(row["text"]) for row in decided] == [row["expected"] for row in decided]


def test_real_errors_have_no_verdict():
    errors = [row["text"] for row in real_judgments() if row["expected"] == "error"]
    assert errors
    assert {parse_verdict(text) for text in errors} == {Verdict.INVALID}
