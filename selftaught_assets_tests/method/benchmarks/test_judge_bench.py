"""Records in the exact published schema, with texts of our own; verdicts with known scores."""

import pytest

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets_tests.method.benchmarks.records import scores_of

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


@pytest.mark.parametrize(("label", "expected"), [("A>B", "A"), ("B>A", "B"), ("A=B", "TIE"), ("C", None)])
def test_judgebench_label_is_read(label, expected):
    assert benchmark_rows("j", [JUDGEBENCH | {"label": label}], "judgebench")["label"].item() == expected


def test_judgebench_subset_is_the_group_of_its_source():
    rows = [JUDGEBENCH | {"pair_id": source, "source": source} for source in ("mmlu-pro-law", "livecodebench", "new")]
    assert benchmark_rows("j", rows, "judgebench")["subset"].to_list() == ["mmlu-pro", "livecodebench", "new"]


@pytest.mark.parametrize(
    ("as_given", "swapped", "expected"),
    [("A", "B", 1), ("A", "TIE", 1), ("A", None, 1), ("A", "A", 0), ("TIE", "TIE", 0), ("B", None, 0), (None, None, 0)],
)
def test_judge_bench_lets_the_orders_vote(as_given, swapped, expected):
    assert scores_of("judgebench", [("A", as_given, swapped)]) == {"both_orders_accuracy": expected}
