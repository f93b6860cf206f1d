import json
import time
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.verdicts import (
    CLOSING,
    Verdict,
    VerdictFormat,
    parse_verdict,
    parse_verdicts,
    says_verdict,
    swap,
    up_to_verdict,
    verdict_choices,
    verdict_of_position,
    without_thinking,
    written,
)

A, B, TIE, INVALID = Verdict
FORMS = get_args(VerdictFormat)
SAID = (A, B, TIE)
PIECES = [
    *(
        "[[",
        "]]",
        "A",
        "B",
        ">",
        "<think>",
        "</think>",
        "<think",
        "think>",
        "\n",
        " ",
        ".",
        "*",
        "é",
        "x",
        "{",
        "}",
        '"',
    ),
    *(
        "\\",
        ":",
        ",",
        "<answer>",
        "</answer>",
        "Output (a)",
        " is better",
        "Therefore, ",
        '{"verdict": "C"}',
        "[[A>B]]",
    ),
    *(written(verdict, form) for form in FORMS for verdict in SAID),
]
judgments = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(
    alphabet=st.characters(exclude_categories=["Cs"])
)
forms = st.sampled_from(FORMS)
spoken = st.text(alphabet="AB ,x\n")


def exchanged(text: str) -> str:
    """The same text with the names of the two responses exchanged."""
    return text.translate(str.maketrans("ABab", "BAba"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is right. [[A]]", A),
        ("[[B]]", B),
        ("[[C]]", TIE),
        ("[[A]] and once more [[A]]", A),
        ("[[A]] no, [[B]]", INVALID),
        ("[[B]] … [[A]] … [[B]]", INVALID),
        ("[[A]] or rather [[C]]", INVALID),
        ("", INVALID),
        ("Response A is clearly better.", INVALID),
        ("[[A]", INVALID),
        ("[A]]", INVALID),
        ("[[a]]", INVALID),
        ("[[ A ]]", INVALID),
        ("[[A>>B]]", INVALID),
        ("[[7]]", INVALID),
        ("[[B]] and then [[A", B),
        ("[[[A]]]", A),
        ("**[[A]]**\n", A),
    ],
)
def test_the_last_complete_verdict_counts_unless_another_contradicts_it(text, verdict):
    assert parse_verdict(text, ties=True) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("My verdict: [[A>>B]]", A),
        ("[[A>B]]", A),
        ("[[B<A]] [[B<<A]]", A),
        ("[[B>>A]]", B),
        ("[[A<B]]", B),
        ("[[A=B]]", TIE),
        ("[[A>>B]], in short [[A>B]]", A),
        ("[[A>B]] [[A=B]]", INVALID),
        ("[[A>>B]] [[B>A]]", INVALID),
        ("[[A>A]]", INVALID),
        ("[[A>>>B]]", INVALID),
        ("[[A]]", INVALID),
        ("A>>B", INVALID),
    ],
)
def test_arrows_point_from_the_better_response(text, verdict):
    assert parse_verdict(text, "arrows", ties=True) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Output (a) is better.", A),
        ("It rhymes.\nTherefore, Output (b) is better.", B),
        ("It rhymes. So Output (b) is better. I am sure of it.", B),
        ("**Output (a) is better**", A),
        ("Verdict: Output (a) is better", A),
        ("Output (a)", A),
        ("Output (b).\n", B),
        ("Both outputs are equally good.", TIE),
        ("Output (a) is better. Output (b) is better.", INVALID),
        ("Output (a)\nIt rhymes.", INVALID),
        ("Output (a) is better in style.", INVALID),
        ("Output (a) is better, but short.", INVALID),
        ("I do not think that Output (a) is better.", INVALID),
        ("If it has to rhyme, Output (a) is better.", INVALID),
        ("It says: do not write 'Output (a) is better.'", INVALID),
        ("Is it true? Output (a) is better?", INVALID),
        ("output (a) is better", INVALID),
        ("Output (c) is better", INVALID),
        ("Response A is better.", INVALID),
    ],
)
def test_an_output_is_better_only_where_a_sentence_says_so_and_nothing_else(text, verdict):
    assert parse_verdict(text, "output", ties=True) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"verdict": "A"}', A),
        ('```json\n{\n  "reason": "b is {long}, \\"sadly\\"",\n  "verdict":"B" , "points": [] }\n```', INVALID),
        ('```json\n{\n  "reason": "b is {long}, \\"sadly\\"",\n  "verdict":"B" , "points": -1.5e3 }\n```', B),
        ('The set {1, 2} has a 5" screen. {"sure": true, "verdict": "tie"}', TIE),
        ('{"reason": "it says {\\"verdict\\": \\"B\\"}", "verdict": "A"}', A),
        ('{"reason": "two\nlines", "verdict": "A"}', A),
        ('{"verdict": "A", "verdict": "B"}', INVALID),
        ('{"verdict": "A"} {"verdict": "B"}', INVALID),
        ('{"verdict": "A"} and {"verdict": "C"}', A),
        ('{"verdict": "A"', INVALID),
        ('{"verdict": "A",}', INVALID),
        ('{"verdict": "a"}', INVALID),
        ('{"verdict": ["A"]}', INVALID),
        ('{"winner": "A"}', INVALID),
        ("{'verdict': 'A'}", INVALID),
        ('"verdict": "A"', INVALID),
        (f'{{"n": {"1" * 5000}, "verdict": "A"}}', A),
        ("[[A]]", INVALID),
    ],
)
def test_a_flat_json_object_holds_the_verdict(text, verdict):
    assert parse_verdict(text, "json", ties=True) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>[[A]]</answer>", A),
        ("[[A]] looks good, but <answer>\n[[B]] </answer>", B),
        ("<answer>[[C]]</answer>", TIE),
        ("<answer>[[A]]</answer><answer>[[B]]</answer>", INVALID),
        ("<answer>[[A]] [[B]]</answer>", INVALID),
        ("<answer>[[A]]", INVALID),
        ("<answer>A</answer>", INVALID),
        ("[[A]]", INVALID),
    ],
)
def test_an_answer_counts_within_its_tag_only(text, verdict):
    assert parse_verdict(text, "answer", ties=True) is verdict


@pytest.mark.parametrize("form", FORMS)
def test_a_tie_that_was_not_offered_is_invalid(form):
    assert parse_verdict(written(TIE, form), form) is INVALID


@given(text=judgments, form=forms)
def test_offering_a_tie_changes_no_other_verdict(text, form):
    offered = parse_verdict(text, form, ties=True)
    assert parse_verdict(text, form) is (INVALID if offered is TIE else offered)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think>[[B]]</think>[[A]]", A),
        ("[[A]]<think>or [[B]]?</think>", A),
        ("<think>[[A]]</think>", INVALID),
        ("<think>[[A]]", INVALID),
        ("[[A]] <think> [[B]]", A),
        ("opened by the prompt: [[B]]</think>[[A]]", A),
        ("[[B]]</think>", INVALID),
        ("<think>a</think>[[B]]<think>[[A]]</think>", B),
        ("<think><think>[[B]]</think>[[B]]</think>[[A]]", A),
        ("[[<think></think>A]]", INVALID),
        ("<thi<think></think>nk>[[A]]", A),
    ],
)
def test_what_is_said_while_thinking_is_no_verdict(text, verdict):
    assert parse_verdict(text) is verdict


@given(before=spoken, verdict=st.sampled_from(SAID), form=forms, after=spoken)
def test_a_single_verdict_is_found_wherever_it_stands(before, verdict, form, after):
    assert parse_verdict(f"{before}\n{written(verdict, form)}\n{after}", form, ties=True) is verdict


@given(text=judgments, form=forms)
def test_exchanging_the_names_of_the_responses_swaps_the_verdict_and_nothing_else(text, form):
    words = ("Therefore", "answer", "Both outputs are equally good", "better", "Output")
    if form in ("output", "json", "answer"):  # Their keywords hold the letters too; keep them out of the exchange.
        marks = {word: chr(0xE000 + index) for index, word in enumerate(words)}
        for word, mark in marks.items():
            text = text.replace(word, mark)
        other = exchanged(text)
        for word, mark in marks.items():
            text, other = text.replace(mark, word), other.replace(mark, word)
    else:
        other = exchanged(text)
    assert parse_verdict(other, form, ties=True) is swap(parse_verdict(text, form, ties=True))


@given(text=judgments, form=forms)
def test_thinking_in_front_changes_no_verdict(text, form):
    thought = "\n".join(written(verdict, form) for verdict in SAID)
    assert parse_verdict(f"<think>{thought}</think>{text}", form) is parse_verdict(f" {text}", form)


@given(texts=st.lists(st.none() | judgments, max_size=12), form=forms, ties=st.booleans())
def test_a_column_is_parsed_like_each_of_its_texts(texts, form, ties):
    expected = [parse_verdict(text or "", form, ties=ties) for text in texts]
    parsed = parse_verdicts(pl.Series("judgment", texts, dtype=pl.String), form, ties=ties)
    assert parsed.to_list() == [None if verdict is INVALID else verdict.value for verdict in expected]
    assert parsed.dtype == pl.String


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "piece",
    [
        *("<think>", "</think>", "<think></think>", "[[", "[[A]]", "<", "<think></think", "[", "[[A>", "<answer>"),
        *(
            "<answer>[[A]]",
            "<answer> ",
            " ",
            "\n",
            "\t*",
            "*",
            ". ",
            ".* ",
            "Output (a)",
            "Therefore, ",
            ". Therefore, ",
        ),
        *("Output (a) is better", "\nOutput (a) is better*", "{", '{"', '{"a":', '{"a":"', '{"a":{', '{"\\"', '{","'),
        *('{"verdict":"A",', '{"verdict":"A"}', '"verdict":"A",', '{"a":1,"', "{ ", '{"a" ', '{"":"\\', "\\", '{":"'),
    ],
)
def test_hostile_texts_take_linear_time(piece, form):
    for opening in ("", '{"verdict":"A",', "<answer>", "\nOutput (a) is better"):
        text = opening + piece * (1_000_000 // len(piece))
        started = time.perf_counter()
        parse_verdict(text, form)
        assert time.perf_counter() - started < 3.0, "a million characters; quadratic time would be minutes"


@given(before=spoken, form=forms, said=st.lists(st.sampled_from(SAID), max_size=3))
def test_a_judgment_that_contradicts_itself_has_spoken_too(before, form, said):
    text = "\n".join([before, *(written(verdict, form) for verdict in said)])
    assert says_verdict(text, form) is bool(said)
    assert (parse_verdict(text, form, ties=True) is not INVALID) is (len(set(said)) == 1)


@given(text=judgments, form=forms, closing=st.sampled_from([CLOSING, "\n", "\nAlso: "]))
def test_a_judgment_that_was_asked_for_its_verdict_has_it(text, form, closing):
    if says_verdict(text, form):
        return
    for verdict, choice in zip(SAID, verdict_choices(form, ties=False), strict=False):
        assert parse_verdict(up_to_verdict(text, closing) + choice, form) is verdict
    assert up_to_verdict(text, closing).startswith(text)


@pytest.mark.parametrize("form", FORMS)
def test_a_tie_is_a_choice_where_its_first_token_tells_it_from_the_others(form):
    if form in ("arrows", "output"):
        with pytest.raises(ValueError, match=f"in the format {form} a tie begins as another verdict"):
            verdict_choices(form, ties=True)
        return
    assert verdict_choices(form, ties=True) == tuple(written(verdict, form) for verdict in SAID)


@given(text=judgments)
def test_no_thinking_is_left(text):
    assert "</think>" not in without_thinking(text)
    assert "<think>" not in without_thinking(text)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_swapping_twice_changes_nothing(verdict):
    assert swap(swap(verdict)) is verdict


def test_swapping_the_responses_leaves_a_tie_and_an_invalid_verdict_as_they_are():
    assert [swap(verdict) for verdict in Verdict] == [B, A, TIE, INVALID]


def test_the_right_verdict_names_the_place_of_the_chosen_response():
    assert [verdict_of_position("A"), verdict_of_position("B")] == [A, B]


def test_every_real_judgment_is_read_as_its_source_recorded_it(real_data: Path):
    with (real_data / "judge_texts" / "mtbench_gpt4_pair.jsonl").open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    recorded = {"A": A, "B": B, "tie": TIE, "error": INVALID}
    expected = [recorded[row["expected"]] for row in rows]
    assert [expected.count(verdict) for verdict in Verdict] == [79, 43, 25, 3]
    assert [parse_verdict(row["text"], ties=True) for row in rows] == expected
    assert [parse_verdict(row["text"]) for row in rows] == [INVALID if v is TIE else v for v in expected]
