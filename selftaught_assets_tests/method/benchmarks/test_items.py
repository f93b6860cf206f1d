import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.items import DROP_REASONS, label_of, placed

GOOD = {"id": 7, "subset": "s", "instruction": "x", "response_a": "a", "response_b": "b", "label": "A"}
BEST_OF = {"id": "g", "prompt": "x", "chosen": ["r"], "rejected": ["w1", "w2", "w3"], "subset": "Math"}
cells = st.none() | st.booleans() | st.integers(0, 2) | st.floats() | st.text("aB \n", max_size=3) | st.just([])
records = st.fixed_dictionaries(
    {"id": st.none(), "instruction": st.sampled_from(["x", "y", " "]), "response_a": cells, "response_b": cells}
    | {"label": st.sampled_from(["A", "B", "tie", "C", None, 0, True])}
)
texts = st.text(max_size=5)


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


@pytest.mark.parametrize("value", [1, "1", 1.0, " 1 ", "1.0", "1.", " 1.00"])
def test_a_number_is_the_same_label_in_every_kind_of_file(value):
    assert label_of(value, {"A": 1, "B": 2, "TIE": 0}) == "A"


@pytest.mark.parametrize("value", [None, "A", 3, 1.5, float("nan"), "", "1.5", True, "None"])
def test_a_value_that_is_not_mapped_is_no_label(value):
    assert label_of(value, {"A": 1, "B": 2, "TIE": 0}) is None


@pytest.mark.parametrize(
    ("value", "label"), [("yes", "A"), ("YES ", "A"), (True, "A"), ("true", "A"), ("no", "B"), ("off", "B")]
)
@pytest.mark.parametrize("meaning", [{"A": True, "B": False}, {"A": "yes", "B": "no"}])
def test_yes_and_no_are_the_words_of_the_file_and_the_truth_values_of_yaml(value, label, meaning):
    assert label_of(value, meaning) == label


def test_case_and_blanks_do_not_make_another_label():
    assert [label_of(value, {"A": "Left", "B": "right"}) for value in ("left ", " LEFT", "Right")] == ["A", "A", "B"]


def test_a_gap_is_no_label_whatever_a_label_is_called():
    assert label_of(None, {"A": "a", "B": "b", "TIE": "none"}) is None
    assert label_of("None", {"A": "a", "B": "b", "TIE": "none"}) == "TIE"


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


def numbered(*sizes: int) -> list[dict[str, object]]:
    """As many subsets as sizes, each with so many pairs; an instruction has one to three of them."""
    rows = []
    for subset, size in enumerate(sizes):
        for number in range(size):
            instruction = f"{subset}: {number // (1 + subset % 3)}"
            rows.append(
                GOOD
                | {"id": len(rows), "subset": str(subset), "instruction": instruction, "response_a": f"answer {number}"}
            )
    return rows


def sampled(rows: list[dict[str, object]], sample: int) -> pl.DataFrame:
    return benchmark_rows("b", rows, sample=sample).filter(pl.col("drop_reason").is_null())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 60), st.integers(0, 20))
def test_a_sample_keeps_whole_instructions_and_is_a_part_of_a_larger_one(sizes, sample, more):
    rows = numbered(*sizes)
    kept, whole = sampled(rows, sample), benchmark_rows("b", rows)
    assert min(sample, sum(sizes)) <= kept.height <= min(sample + 2, sum(sizes))
    assert whole.join(kept, on="instruction_id", how="semi").height == kept.height
    assert set(kept["item_id"]) <= set(sampled(rows, sample + more)["item_id"])


def test_a_sample_has_the_subsets_of_the_whole_in_proportion():
    sizes = {"a": 200, "b": 100, "c": 100}
    rows = [
        GOOD | {"id": f"{subset} {number}", "subset": subset, "instruction": f"{subset} {number}"}
        for subset, size in sizes.items()
        for number in range(size)
    ]
    counted = dict(sampled(rows, 40)["subset"].value_counts().iter_rows())
    assert counted == {"a": 20, "b": 10, "c": 10}


def test_a_sample_is_drawn_and_not_cut_off_and_depends_on_what_is_asked_alone():
    rows = numbered(40)
    kept = sampled(rows, 10)["item_id"].to_list()
    assert kept != [str(number) for number in range(10)]
    others = [row | {"id": f"new {row['id']}"} for row in reversed(rows)]
    assert {f"new {item}" for item in kept} == set(sampled(others, 10)["item_id"])


def test_what_cannot_be_scored_takes_no_place_in_a_sample():
    rows = [GOOD | {"id": f"bad {number}", "label": None} for number in range(50)] + numbered(4)
    table = benchmark_rows("b", rows, sample=3)
    assert table["drop_reason"].value_counts(sort=True).to_dict(as_series=False) == {
        "drop_reason": ["no_label", None, "not_sampled"],
        "count": [50, 3, 1],
    }
