"""Records in the exact published schema, with texts of our own."""

import pytest

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.groups import RM_BENCH_STYLES

BEST_OF_4 = {
    "id": "12",
    "prompt": "Name a prime.",
    "chosen": ["7"],
    "rejected": ["8", "9", "10"],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["m1", "m2", "m3", "m4"],
    "subset": "Math",
    "additional_metadata": {"category": None, "correct": None, "index": None},
}
TIES = BEST_OF_4 | {"id": "tied:3", "chosen": ["red", "blue"], "rejected": ["loud", "seven", "no"], "subset": "Ties"}
RM_BENCH = {
    "id": "chat/5",
    "prompt": "Name a prime.",
    "chosen": ["7", "It is 7.", "It is **7**."],
    "rejected": ["8", "It is 8.", "It is **8**."],
    "domain": "chat",
}


def winners_and_losers(table) -> list[tuple[str, str]]:
    return [
        (a, b) if label == "A" else (b, a) for a, b, label in table["response_a", "response_b", "label"].iter_rows()
    ]


def test_best_of_4_is_three_pairs_in_one_group():
    table = benchmark_rows("rb2", [BEST_OF_4], "rewardbench2")
    assert winners_and_losers(table) == [("7", "8"), ("7", "9"), ("7", "10")]
    assert table["item_id"].to_list() == ["12/0-0", "12/0-1", "12/0-2"]
    assert set(table["group_id"]) == {"12"}


def test_ties_are_every_right_against_every_wrong_answer():
    table = benchmark_rows("rb2", [TIES], "rewardbench2")
    assert winners_and_losers(table) == [(right, wrong) for right in TIES["chosen"] for wrong in TIES["rejected"]]
    assert set(table["subset"]) == {"Ties"}
    assert set(table["group_id"]) == {"tied:3"}


@pytest.mark.parametrize("chosen", [None, [], [None], [True], 7])
def test_group_without_a_right_answer_that_is_text_is_dropped(chosen):
    table = benchmark_rows("rb2", [BEST_OF_4 | {"chosen": chosen}], "rewardbench2")
    assert table["drop_reason"].to_list() == ["not_text"] * 3


def test_rm_bench_is_nine_pairs_with_the_styles_of_winner_and_loser():
    table = benchmark_rows("rm", [RM_BENCH], "rm_bench")
    styles = [variant.split("/") for variant in table["variant"]]
    expected = [
        (RM_BENCH["chosen"][RM_BENCH_STYLES.index(won)], RM_BENCH["rejected"][RM_BENCH_STYLES.index(lost)])
        for won, lost in styles
    ]
    assert winners_and_losers(table) == expected
    assert len(set(table["variant"])) == 9
    assert set(table["group_id"]) == {"chat/5"}
    assert set(table["subset"]) == {"chat"}


def test_rm_bench_record_that_lacks_a_style_is_dropped_as_a_whole():
    table = benchmark_rows("rm", [RM_BENCH | {"rejected": ["8", "It is 8."]}], "rm_bench")
    assert table["drop_reason"].value_counts(sort=True).rows() == [("incomplete_group", 6), ("not_text", 3)]


def test_other_formats_have_no_variant():
    assert benchmark_rows("rb2", [BEST_OF_4], "rewardbench2")["variant"].null_count() == 3
