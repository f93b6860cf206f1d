import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.pool import POOL_DROP_REASONS, first_request, is_kept, pool_rows

OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a quark?"},
    {"role": "assistant", "content": "A particle."},
    {"role": "user", "content": "And a gluon?"},
]
SHAREGPT = [{"from": "gpt", "value": "Hello!"}, {"from": "human", "value": "What is a quark?"}]
PARTS = [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "What is a quark?"}]}]


@pytest.mark.parametrize("conversation", [OPENAI, SHAREGPT, PARTS])
def test_of_a_conversation_the_first_turn_of_the_user_is_taken(conversation):
    assert first_request(conversation) == "What is a quark?"


@pytest.mark.parametrize(
    "conversation", [[], OPENAI[:1], [{"role": "user"}], [{"role": "user", "content": [{"type": "image_url"}]}]]
)
def test_a_conversation_in_which_no_user_writes_has_no_instruction(conversation):
    assert first_request(conversation) is None


@pytest.mark.parametrize("value", [None, "What is a quark?", {"role": "user"}, ["a"], 7])
def test_what_is_no_list_of_turns_is_refused(value):
    with pytest.raises(TypeError):
        first_request(value)


def test_a_record_is_kept_whose_fields_have_wanted_values():
    record = {"language": "English", "toxic": False, "turn": 2}
    assert is_kept(record, {})
    assert is_kept(record, {"language": ("English", "German"), "toxic": (False,)})
    assert not is_kept(record, {"language": ("English",), "turn": (1,)})


reasons = st.none() | st.sampled_from(["filtered", "no_instruction"])
rows = st.lists(st.tuples(st.sampled_from("ab"), st.text("xX \n", max_size=3), reasons), max_size=20)


@given(rows)
def test_of_equal_instructions_of_several_sources_one_is_kept_and_never_a_dropped_one(given_rows):
    records = [
        {"line": line, "source": source, "instruction": None if reason else text, "drop_reason": reason}
        for line, (source, text, reason) in enumerate(sorted(given_rows, key=lambda row: row[0]), start=1)
    ]
    table = pool_rows(records)
    kept = table.filter(pl.col("drop_reason").is_null())
    assert set(table["drop_reason"].drop_nulls()) <= set(POOL_DROP_REASONS)
    usable = {"".join(text.split()).lower() for _, text, reason in given_rows if reason is None} - {""}
    assert kept.height >= len(usable)
    assert {"".join(text.split()).lower() for text in kept["instruction"]} == usable
    assert kept["instruction_id"].n_unique() == kept.height


def test_a_line_of_one_source_does_not_hide_that_of_another():
    table = pool_rows({"line": 1, "source": source, "instruction": source} for source in "ab")
    assert table["drop_reason"].to_list() == [None, None]
