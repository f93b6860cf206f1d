import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.benchmarks import DROP_REASONS, benchmark_rows

GOOD = {"id": 7, "subset": "s", "instruction": "x", "response_a": "a", "response_b": "b", "label": "A"}
BEST_OF = {"id": "g", "prompt": "x", "chosen": ["r"], "rejected": ["w1", "w2", "w3"], "subset": "Math"}

cells = st.none() | st.booleans() | st.integers(0, 2) | st.floats() | st.text("aB \n", max_size=3) | st.just([])
records = st.fixed_dictionaries(
    {"id": st.none(), "instruction": st.sampled_from(["x", "y", " "]), "response_a": cells, "response_b": cells}
    | {"label": st.sampled_from(["A", "B", "tie", "C", None, 0, True])}
)


def reasons(*changes: dict[str, object], ties: str = "drop") -> list[str | None]:
    rows = [GOOD | {"id": number} | change for number, change in enumerate(changes)]
    return benchmark_rows("b", rows, ties=ties)["drop_reason"].to_list()


def test_a_labelled_pair_is_kept():
    row = benchmark_rows("b", [GOOD | {"reference": "r"}]).drop("instruction_id").row(0)
    assert row == ("b", "s", "7", "7", "x", "a", "b", "A", "r", None, None, None)


@pytest.mark.parametrize(("given", "label"), [("a", "A"), ("B ", "B"), (" b", "B"), ("TIE ", "TIE")])
def test_case_and_blanks_of_a_label_do_not_count(given: str, label: str):
    assert benchmark_rows("b", [GOOD | {"label": given}], ties="count")["label"].to_list() == [label]


@pytest.mark.parametrize(("given", "seen"), [("left", "left"), (3, "3"), (None, ""), (float("nan"), "")])
def test_what_is_no_label_is_kept_to_be_shown(given: object, seen: str):
    row = benchmark_rows("b", [GOOD | {"label": given}]).row(0, named=True)
    assert (row["label"], row["label_seen"], row["drop_reason"]) == (None, seen, "no_label")


@pytest.mark.parametrize("gap", [None, float("nan"), "", " "])
def test_a_gap_is_no_reference_and_no_subset(gap: object):
    row = benchmark_rows("b", [GOOD | {"reference": gap, "subset": gap}]).row(0, named=True)
    assert (row["reference"], row["subset"]) == (None, "b")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"response_a": True}, "not_text"),
        ({"response_b": ["b"]}, "not_text"),
        ({"instruction": None}, "not_text"),
        ({"response_b": " \n"}, "empty_text"),
        ({"label": "tie"}, "tie"),
        ({"label": "Tie"}, "tie"),
        ({"label": "TIE"}, "tie"),
        ({"label": None}, "no_label"),
        ({"label": "C"}, "no_label"),
        ({"label": True}, "no_label"),
        ({"response_b": "a"}, "equal_responses"),
        ({"response_b": "a", "label": "tie"}, "tie"),
    ],
)
def test_a_pair_that_no_verdict_could_be_right_about_is_dropped_with_its_reason(change, expected):
    assert reasons(change) == [expected]


def test_the_first_reason_in_the_documented_order_is_reported():
    assert reasons({"response_a": False, "response_b": "", "label": None}) == ["not_text"]
    assert reasons({"response_b": "", "label": None}) == ["empty_text"]
    assert reasons({"response_b": "a", "label": None}) == ["no_label"]


def test_a_repetition_is_dropped_and_its_first_occurrence_is_kept():
    assert reasons({}, {"response_b": "c"}, {"label": "B"}) == [None, None, "duplicate"]


def test_a_repetition_with_the_responses_swapped_is_the_same_question():
    assert reasons({}, {"response_a": "b", "response_b": "a", "label": "B"}) == [None, "swapped_duplicate"]


def test_an_unusable_row_does_not_make_its_repetition_a_duplicate():
    assert reasons({"label": None}, {}) == ["no_label", None]


def test_a_tie_is_an_item_where_the_recipe_counts_ties():
    assert reasons({"label": "tie"}, ties="count") == [None]


def test_a_group_with_an_unusable_pair_is_dropped_as_a_whole():
    table = benchmark_rows("b", [BEST_OF | {"rejected": ["w1", "", "w3"]}], "rewardbench2")
    assert table["drop_reason"].to_list() == ["incomplete_group", "empty_text", "incomplete_group"]


def test_a_group_that_is_repeated_in_part_is_kept_whole():
    other = BEST_OF | {"id": "h", "rejected": ["w1", "w2", "other"]}
    assert benchmark_rows("b", [BEST_OF, other], "rewardbench2")["drop_reason"].null_count() == 6


def test_a_group_that_is_repeated_as_a_whole_is_dropped():
    table = benchmark_rows("b", [BEST_OF, BEST_OF | {"id": "h"}], "rewardbench2")
    assert table["drop_reason"].to_list() == [None] * 3 + ["duplicate"] * 3


def test_a_pair_without_a_subset_belongs_to_the_benchmark_as_a_whole():
    assert benchmark_rows("b", [GOOD | {"subset": None}])["subset"].item() == "b"


def test_instructions_that_read_the_same_have_one_id():
    rows = [GOOD | {"id": number, "instruction": text} for number, text in enumerate(["Sort  it", " sort it", "sort"])]
    ids = benchmark_rows("b", rows)["instruction_id"]
    assert ids[0] == ids[1] != ids[2]


@given(st.lists(records, max_size=12), st.sampled_from(["drop", "count"]))
def test_whatever_the_rows_hold_none_is_lost_and_every_reason_is_a_known_one(rows, ties):
    numbered = [row | {"id": number} for number, row in enumerate(rows)]
    table = benchmark_rows("b", numbered, ties=ties)
    accounts = account(table, len(rows))
    assert set(accounts.dropped) <= set(DROP_REASONS)
    kept = table.filter(pl.col("drop_reason").is_null())
    assert set(kept["label"]) <= ({"A", "B"} if ties == "drop" else {"A", "B", "TIE"})
    assert table["item_id"].to_list() == [str(number) for number in range(len(rows))]


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_dirty_rows_of_the_real_pandalm_are_counted(real_data: Path) -> None:
    """99 rows repeat an earlier one and 37 more do with the responses swapped; 34 of these 136 are unusable anyway."""
    original = json.loads((real_data / "benchmarks" / "pandalm_original.json").read_text(encoding="utf-8"))
    table = benchmark_rows("pandalm", original, "pandalm")
    dropped = {"tie": 77, "duplicate": 72, "empty_text": 54, "swapped_duplicate": 30, "not_text": 6}
    assert account(table, 999) == (999, 760, dropped)
    counted = benchmark_rows("pandalm", original, "pandalm", ties="count")
    assert account(counted, 999).kept == 760 + 77


def test_the_original_pandalm_and_its_normalised_form_agree(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    original = json.loads((folder / "pandalm_original.json").read_text(encoding="utf-8"))
    mine = benchmark_rows("pandalm", original, "pandalm")
    theirs = benchmark_rows("pandalm", _lines(folder / "pandalm.jsonl"))
    columns = ["subset", "instruction_id", "instruction", "response_a", "response_b", "label"]
    assert mine.select(columns).equals(theirs.select(columns))


def test_every_row_of_the_real_llmbar_can_be_scored(real_data: Path) -> None:
    table = benchmark_rows("llmbar", _lines(real_data / "benchmarks" / "llmbar.jsonl"))
    assert account(table, 419) == (419, 419, {})
    assert table["label"].value_counts(sort=True).rows() == [("B", 213), ("A", 206)]
