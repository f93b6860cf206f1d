"""Records in the exact published schema, with texts of our own; verdicts with known scores."""

from pathlib import Path

import pytest

from selftaught_assets.assets.family import account
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets_tests.method.benchmarks.records import lines_of, scores_of
from selftaught_assets_tests.method.tables import Judged, right, wrong

LLMBAR = {"input": "Name a prime.", "output_1": "7", "output_2": "8", "label": 1}


def test_llmbar_label_and_subset_are_read():
    rows = [LLMBAR | {"subset": "Natural"}, LLMBAR | {"subset": "Natural", "label": 2}, LLMBAR | {"label": 3}]
    table = benchmark_rows("llmbar", rows, "llmbar")
    assert table.select("item_id", "subset", "label").rows() == [
        ("Natural/0", "Natural", "A"),
        ("Natural/1", "Natural", "B"),
        ("llmbar/0", "llmbar", None),
    ]


def test_every_row_of_the_real_llmbar_can_be_scored(real_data: Path) -> None:
    table = benchmark_rows("llmbar", lines_of(real_data / "benchmarks" / "llmbar.jsonl"))
    assert account(table, 419) == (419, 419, {})
    assert table["label"].value_counts(sort=True).rows() == [("B", 213), ("A", 206)]


def test_llmbar_averages_its_adversarial_sets_without_weights():
    pairs = [right(subset="Adversarial/Manual"), *[wrong(subset="Adversarial/Neighbor")] * 3, right(subset="Natural")]
    scores = scores_of("llmbar", pairs)
    assert (scores["natural"], scores["adversarial"], scores["average"]) == (1.0, 0.5, pytest.approx(2 / 3))


def test_positional_agreement_counts_consistent_verdicts_right_or_wrong():
    pairs = [right(), wrong(), Judged("A", "A", "A"), Judged("A", None, None)]
    assert scores_of("llmbar", pairs)["positional_agreement"] == 0.5
