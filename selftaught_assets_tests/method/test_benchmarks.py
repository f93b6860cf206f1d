import pytest

from selftaught_assets.method.accounting import account
from selftaught_assets.method.benchmarks import DROP_REASONS, benchmark_rows

GOOD = {"id": 7, "subset": "s", "instruction": "x", "response_a": "a", "response_b": "b", "label": "A"}


def reason(**change: object) -> str | None:
    return benchmark_rows("b", [GOOD | change])["drop_reason"].item()


def test_a_labelled_pair_is_kept():
    row = benchmark_rows("b", [GOOD]).row(0)
    assert row == ("b", "s", "7", "x", "a", "b", "A", None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"response_a": True}, "not_text"),
        ({"instruction": None}, "not_text"),
        ({"response_b": " \n"}, "empty_text"),
        ({"label": "tie"}, "tie"),
        ({"label": "Tie"}, "tie"),
        ({"label": None}, "no_label"),
        ({"label": "a"}, "no_label"),
    ],
)
def test_a_pair_that_no_verdict_could_be_right_about_is_dropped_with_its_reason(change, expected):
    assert reason(**change) == expected


def test_the_first_reason_in_the_documented_order_is_reported():
    assert reason(response_a=False, response_b="", label="tie") == DROP_REASONS[0]
    assert reason(response_b="", label="tie") == DROP_REASONS[1]


def test_no_row_is_lost():
    table = benchmark_rows("b", [GOOD, GOOD | {"label": "tie"}, GOOD | {"response_a": 3}])
    assert account(table, 3).dropped == {"tie": 1, "not_text": 1}


def test_a_pair_without_a_subset_belongs_to_the_benchmark_as_a_whole():
    assert benchmark_rows("b", [GOOD | {"subset": None}])["subset"].item() == "b"
