import pytest

from selftaught_assets.method.benchmarks.own import label_of, renamed


def test_a_field_is_read_from_its_column_and_the_others_stay():
    record = {"question": "x", "label": "their label", "better": "1"}
    mapped = renamed(record, {"instruction": "question", "label": "better"})
    assert mapped == record | {"instruction": "x", "label": "1"}


def test_columns_may_change_places():
    assert renamed({"a": 1, "b": 2}, {"a": "b", "b": "a"}) == {"a": 2, "b": 1}


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
