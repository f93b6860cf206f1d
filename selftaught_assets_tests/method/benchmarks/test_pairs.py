"""Records in the exact published schema, with texts of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.items import placed

REWARDBENCH = {
    "prompt": "Name a prime.",
    "chosen": "7",
    "chosen_model": "human",
    "rejected": "8",
    "rejected_model": "unknown",
    "subset": "math-prm",
    "id": 30,
}
HELPSTEER2 = {
    "split": "val",
    "prompt": "Name a prime.",
    "response_1": "7",
    "response_2": "8",
    "preference_strength": -2,
    "preference_statement": "Response 1 is better than Response 2.",
    "preference_elaboration": "8 is even.",
    "three_most_similar_preferences": [],
    "all_preferences_unprocessed": [],
}
JUDGEBENCH = {
    "pair_id": "8a4e",
    "original_id": "901",
    "source": "mmlu-pro-law",
    "question": "Which one?",
    "response_model": "gpt-4o-2024-05-13",
    "response_A": "It is (C).",
    "response_B": "It is (D).",
    "label": "B>A",
}
LLMBAR = {"input": "Name a prime.", "output_1": "7", "output_2": "8", "label": 1}

texts = st.text(max_size=5)


def winner(table, row: int = 0) -> str:
    values = table.row(row, named=True)
    return values[f"response_{values['label'].lower()}"]


@given(texts, texts, texts)
def test_the_chosen_response_is_where_the_label_says(instruction, chosen, rejected):
    item = placed("1", instruction, chosen, rejected)
    assert {"A": item.response_a, "B": item.response_b}[item.label] == chosen
    assert sorted((item.response_a, item.response_b)) == sorted((chosen, rejected))


@given(texts, texts, texts)
def test_the_place_of_a_response_does_not_tell_whether_it_won(instruction, one, other):
    first, second = placed("1", instruction, one, other), placed("1", instruction, other, one)
    assert (first.response_a, first.response_b) == (second.response_a, second.response_b)
    assert one == other or first.label != second.label


def test_winners_stand_in_both_places_about_equally_often():
    labels = [placed("1", f"instruction {number}", "right", "wrong").label for number in range(1000)]
    assert 450 <= labels.count("A") <= 550


def test_rewardbench_keeps_subset_and_winner():
    table = benchmark_rows("rewardbench", [REWARDBENCH], "rewardbench")
    row = table.row(0, named=True)
    assert (row["item_id"], row["group_id"], row["subset"]) == ("math-prm/30", "math-prm/30", "math-prm")
    assert winner(table) == "7"


def test_rewardbench_ids_that_are_repeated_are_told_apart():
    others = [REWARDBENCH, REWARDBENCH | {"subset": "hep-go"}, REWARDBENCH | {"chosen": "11"}]
    table = benchmark_rows("rewardbench", others, "rewardbench")
    assert table["item_id"].to_list() == ["math-prm/30", "hep-go/30", "math-prm/30#2"]


@pytest.mark.parametrize("response", [True, None, ["7"]])
def test_rewardbench_response_that_is_no_text_is_dropped(response):
    table = benchmark_rows("rewardbench", [REWARDBENCH | {"rejected": response}], "rewardbench")
    assert table["drop_reason"].to_list() == ["not_text"]


@pytest.mark.parametrize(
    ("strength", "label", "reason"),
    [
        (-3, "A", None),
        (-1, "A", None),
        (1, "B", None),
        (2.0, "B", None),
        (0, "TIE", "tie"),
        (None, None, "no_label"),
        (True, None, "no_label"),
        ("2", None, "no_label"),
        (float("nan"), None, "no_label"),
    ],
)
def test_helpsteer2_label_is_the_sign_of_the_strength(strength, label, reason):
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"preference_strength": strength}], "helpsteer2")
    assert table.select("label", "drop_reason").row(0) == (label, reason)


def test_helpsteer2_records_of_training_are_set_aside():
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"split": "train"}, HELPSTEER2], "helpsteer2")
    assert table["drop_reason"].to_list() == ["other_split", None]


def test_helpsteer2_conversation_is_laid_out_as_text():
    prompt = "Name a prime.\n<extra_id_1>Assistant\n7\n<extra_id_1>User\nA larger one."
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"prompt": prompt}], "helpsteer2")
    assert table["instruction"].item() == "User:\nName a prime.\n\nAssistant:\n7\n\nUser:\nA larger one."


@pytest.mark.parametrize(("label", "expected"), [("A>B", "A"), ("B>A", "B"), ("A=B", "TIE"), ("C", None)])
def test_judgebench_label_is_read(label, expected):
    assert benchmark_rows("j", [JUDGEBENCH | {"label": label}], "judgebench")["label"].item() == expected


def test_judgebench_subset_is_the_group_of_its_source():
    rows = [JUDGEBENCH | {"pair_id": source, "source": source} for source in ("mmlu-pro-law", "livecodebench", "new")]
    assert benchmark_rows("j", rows, "judgebench")["subset"].to_list() == ["mmlu-pro", "livecodebench", "new"]


def test_llmbar_label_and_subset_are_read():
    rows = [LLMBAR | {"subset": "Natural"}, LLMBAR | {"subset": "Natural", "label": 2}, LLMBAR | {"label": 3}]
    table = benchmark_rows("llmbar", rows, "llmbar")
    assert table.select("item_id", "subset", "label").rows() == [
        ("Natural/0", "Natural", "A"),
        ("Natural/1", "Natural", "B"),
        ("llmbar/0", "llmbar", None),
    ]


def test_own_preferences_are_placed():
    rows = [{"id": number, "instruction": f"x{number}", "chosen": "right", "rejected": "wrong"} for number in range(20)]
    table = benchmark_rows("mine", rows, "chosen_rejected")
    assert {winner(table, number) for number in range(20)} == {"right"}
    assert set(table["label"]) == {"A", "B"}
