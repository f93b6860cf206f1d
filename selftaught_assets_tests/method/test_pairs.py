import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.pairs import (
    COLUMNS,
    DROP_REASONS,
    STRATEGY,
    TEMPLATE_LEFTOVER,
    build_pairs,
    split_modified_pair,
)
from selftaught_assets_tests.method.tables import kept

GOOD = {
    "instruction_id": "i1",
    "instruction": "Sort: b a c",
    "modified_instruction": "Reverse: b a c",
    "chosen": "a b c",
    "rejected": "c a b",
    "chosen_finish": "stop",
    "modified_finish": "stop",
    "rejected_finish": "stop",
    "generator": "digest",
    "strategy": STRATEGY,
}


def pairs(*changes: dict[str, str | None]) -> pl.DataFrame:
    rows = [GOOD | change for change in changes]
    return build_pairs(pl.DataFrame(rows, schema=dict.fromkeys(GOOD, pl.String)))


def reason(**change: str | None) -> str | None:
    return pairs(change)["drop_reason"][0]


def test_a_good_pair_is_kept():
    assert reason() is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"chosen": " \n"}, "chosen_empty"),
        ({"chosen": None, "chosen_finish": "prompt_too_long"}, "prompt_too_long"),
        ({"rejected": "", "rejected_finish": "failed"}, "failed"),
        ({"modified_instruction": None}, "modified_instruction_missing"),
        ({"modified_instruction": ""}, "modified_instruction_missing"),
        ({"modified_instruction": "sort:  B a\nc "}, "modified_instruction_unchanged"),
        ({"rejected": None}, "rejected_empty"),
        ({"rejected": " a  b\nc"}, "responses_equal"),
        ({"chosen_finish": "length"}, "truncated"),
        ({"modified_finish": "length"}, "truncated"),
        ({"rejected_finish": "length"}, "truncated"),
    ],
)
def test_an_unusable_pair_is_dropped_with_its_reason(change, expected):
    assert reason(**change) == expected


@pytest.mark.parametrize("column", ["modified_instruction", "chosen", "rejected"])
@pytest.mark.parametrize(
    "leftover",
    [
        "[[instruction]]",
        "[[response]]",
        "{{ instruction }}",
        "{{response_a}}",
        "<|im_end|>",
        "<|start_header_id|>",
        "<｜end▁of▁sentence｜>",
        "[/INST]",
        "<</SYS>>",
        "<end_of_turn>",
    ],
)
def test_what_a_template_left_behind_in_a_generated_text_drops_the_pair(column, leftover):
    assert reason(**{column: f"some text {leftover} more"}) == "template_leftover"


@pytest.mark.parametrize(
    "text",
    ["style={{ color: 'red' }}", "[[1, 2], [3, 4]]", "a <s>b</s>", "\\frac{{a}}{{b}}", "if a <| b |> c", "x < |y| > z"],
)
def test_code_and_markup_are_no_leftovers(text):
    assert reason(chosen=text) is None


def test_template_tokens_in_the_users_own_instruction_are_data():
    assert reason(instruction="What does <|im_end|> mean in {{ instruction }}?") is None


def test_a_change_of_case_alone_is_a_different_response():
    assert reason(chosen="a b c", rejected="A B C") is None


def test_the_first_reason_in_the_documented_order_is_reported():
    everything = {
        "chosen": None,
        "modified_instruction": None,
        "rejected": None,
        "chosen_finish": "length",
    }
    assert reason(**everything | {"chosen_finish": "failed"}) == DROP_REASONS[0]
    assert reason(**everything | {"chosen_finish": "prompt_too_long"}) == DROP_REASONS[1]
    assert reason(**everything) == DROP_REASONS[2]
    assert reason(**everything | {"chosen": "a"}) == DROP_REASONS[3]


def test_the_second_call_that_was_not_made_has_no_finish_reason():
    assert reason(modified_instruction=None, rejected=None, rejected_finish=None) == "modified_instruction_missing"


def test_a_pair_id_depends_on_the_content_alone():
    table = pairs({}, {"chosen": "other"}, {"generator": "other"}, {"chosen_finish": "eos"})
    ids = table["pair_id"].to_list()
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


def test_the_table_has_its_columns_in_order_even_when_empty():
    assert tuple(pairs().columns) == COLUMNS
    assert pairs().height == 0


short = st.none() | st.sampled_from(["", " ", "a", "A", "b", "[[response]]", "{{ instruction }}"])


@given(
    rows=st.lists(
        st.fixed_dictionaries({"chosen": short, "rejected": short, "modified_instruction": short}), max_size=20
    )
)
def test_pairs_add_up_and_kept_ones_hold_every_promise(rows):
    table = pairs(*({"instruction": "a"} | row for row in rows))
    account(table, len(rows))
    assert set(table["drop_reason"].drop_nulls()) <= set(DROP_REASONS)
    for row in kept(table).iter_rows(named=True):
        assert row["chosen"].strip()
        assert row["rejected"].strip()
        assert row["chosen"].split() != row["rejected"].split()
        assert row["modified_instruction"].lower().split() != row["instruction"].lower().split()
        assert not re.search(TEMPLATE_LEFTOVER, row["chosen"] + row["rejected"] + row["modified_instruction"])


def test_the_one_call_form_is_taken_apart():
    text = "Sure!\n[[instruction]]\n Reverse: b a \n[[response]]\na b\n"
    assert split_modified_pair(text) == ("Reverse: b a", "a b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Reverse: b a",
        "[[instruction]] Reverse: b a",
        "[[response]] a b",
        "[[response]] a b [[instruction]] Reverse: b a",
        "<think>[[instruction]] x [[response]] y",
    ],
)
def test_a_missing_or_misplaced_marker_gives_no_pair(text):
    assert split_modified_pair(text) is None


def test_thinking_is_no_part_of_a_modified_pair():
    text = "<think>[[instruction]] no [[response]] no</think>[[instruction]] yes [[response]] also yes"
    assert split_modified_pair(text) == ("yes", "also yes")


def test_a_marker_that_occurs_again_drops_the_pair():
    split = split_modified_pair("[[instruction]] x [[response]] y [[instruction]] z [[response]] w")
    assert reason(modified_instruction=split.instruction, rejected=split.response) == "template_leftover"


@given(instruction=st.text("ab \n"), response=st.text("ab \n"))
def test_what_was_put_between_the_markers_comes_back(instruction, response):
    text = f"[[instruction]]{instruction}[[response]]{response}"
    assert split_modified_pair(text) == (instruction.strip(), response.strip())
