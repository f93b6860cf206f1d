"""Records in the exact published schema, with texts of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.items import majority


def conversation(*replies: str) -> list[dict[str, str]]:
    questions = ["Name a prime.", "A larger one."]
    turns = zip(questions, replies, strict=True)
    return [
        {"content": text, "role": role}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


MT_BENCH = {
    "question_id": 81,
    "model_a": "alpaca-13b",
    "model_b": "gpt-4",
    "winner": "model_b",
    "judge": "expert_0",
    "conversation_a": conversation("8", "10"),
    "conversation_b": conversation("7", "11"),
    "turn": 1,
}
MIRRORED = MT_BENCH | {
    "model_a": MT_BENCH["model_b"],
    "model_b": MT_BENCH["model_a"],
    "conversation_a": MT_BENCH["conversation_b"],
    "conversation_b": MT_BENCH["conversation_a"],
}
PANDALM = {
    "idx": 0,
    "motivation_app": "Gmail",
    "cmp_key": "bloom-7b_llama-7b",
    "instruction": "Name a prime.",
    "input": "",
    "response1": "7",
    "response2": "8",
    "annotator1": 1,
    "annotator2": 1,
    "annotator3": 2,
}

labels = st.lists(st.sampled_from(["A", "B", "TIE"]), min_size=1, max_size=9)


def mt_bench(*records):
    return benchmark_rows("mt_bench", records, "mt_bench", ties="count")


@given(labels)
def test_a_label_wins_only_with_more_votes_than_each_other(votes):
    most = majority(votes)
    others = {"A", "B", "TIE"} - {most}
    if most != "TIE":
        assert all(votes.count(most) > votes.count(other) for other in others)


@given(labels, st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter(votes, random):
    shuffled = random.sample(votes, len(votes))
    assert majority(shuffled) == majority(votes)


def test_votes_on_one_pair_become_one_item():
    table = mt_bench(MT_BENCH, MT_BENCH | {"winner": "model_a", "judge": "expert_1"}, MT_BENCH | {"judge": "author_0"})
    assert table.select("item_id", "response_a", "response_b", "label").rows() == [
        ("81/alpaca-13b/gpt-4/turn_1", "8", "7", "B")
    ]


def test_votes_with_the_models_the_other_way_round_count_for_the_same_model():
    table = mt_bench(MT_BENCH, MIRRORED | {"winner": "model_a"}, MT_BENCH | {"winner": "tie"})
    assert table.select("response_a", "response_b", "label").rows() == [("8", "7", "B")]


@pytest.mark.parametrize("winners", [("tie",), ("model_a", "model_b"), ("tie (inconsistent)",)])
def test_people_without_a_majority_are_a_tie(winners):
    assert mt_bench(*[MT_BENCH | {"winner": winner} for winner in winners])["label"].to_list() == ["TIE"]


def test_both_turns_are_laid_out_as_text():
    table = mt_bench(MT_BENCH, MT_BENCH | {"turn": 2})
    assert table.select("subset", "instruction", "response_a").rows() == [
        ("turn_1", "Name a prime.", "8"),
        ("turn_2", "Turn 1:\nName a prime.\n\nTurn 2:\nA larger one.", "Turn 1:\n8\n\nTurn 2:\n10"),
    ]


def test_both_turns_of_a_question_are_one_cluster():
    assert mt_bench(MT_BENCH, MT_BENCH | {"turn": 2})["instruction_id"].n_unique() == 1


@pytest.mark.parametrize("winner", [None, "gpt-4", ""])
def test_a_vote_that_cannot_be_read_is_counted_and_has_no_say(winner):
    table = mt_bench(MT_BENCH, MT_BENCH | {"winner": winner})
    assert table.select("label", "drop_reason").rows() == [("B", None), (None, "no_label")]
    assert table["item_id"].n_unique() == 2


@pytest.mark.parametrize("broken", [None, "7", [], [{"role": "user"}], [1, 2]])
def test_a_conversation_that_cannot_be_read_is_no_text(broken):
    assert mt_bench(MT_BENCH | {"conversation_b": broken})["drop_reason"].to_list() == ["not_text"]


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ((1, 1, 2), "A"),
        ((2, 0, 2), "B"),
        ((0, 0, 1), "TIE"),
        ((0, 1, 2), "TIE"),
        ((None, 2, 2), "B"),
        ((None, 1, 2), None),
        ((True, 7, "x"), None),
    ],
)
def test_pandalm_label_is_the_majority_of_three_people(votes, label):
    record = PANDALM | {f"annotator{number}": vote for number, vote in enumerate(votes, start=1)}
    assert benchmark_rows("p", [record], "pandalm")["label"].item() == label


def test_pandalm_input_is_part_of_the_instruction():
    table = benchmark_rows("p", [PANDALM | {"instruction": "Shorten.", "input": "A long text."}], "pandalm")
    assert table["instruction"].item() == "Shorten.\n\nInput:\nA long text."


@pytest.mark.parametrize("field", ["instruction", "input", "response1"])
def test_pandalm_boolean_is_no_text(field):
    assert benchmark_rows("p", [PANDALM | {field: True}], "pandalm")["drop_reason"].to_list() == ["not_text"]
