import pytest

from selftaught_assets.method.benchmarks.own import label_of, renamed


def test_a_field_is_read_from_its_column_and_the_others_stay():
    record = {"question": "x", "label": "their label", "better": "1"}
    mapped = renamed(record, {"instruction": "question", "label": "better"})
    assert mapped == record | {"instruction": "x", "label": "1"}


def test_columns_may_change_places():
    assert renamed({"a": 1, "b": 2}, {"a": "b", "b": "a"}) == {"a": 2, "b": 1}


@pytest.mark.parametrize("value", [1, "1", 1.0, " 1 "])
def test_a_number_is_the_same_label_in_every_kind_of_file(value):
    assert label_of(value, {"A": 1, "B": 2, "TIE": 0}) == "A"


@pytest.mark.parametrize("value", [None, "A", 3, 1.5, float("nan"), ""])
def test_a_value_that_is_not_mapped_is_no_label(value):
    assert label_of(value, {"A": 1, "B": 2, "TIE": 0}) is None
