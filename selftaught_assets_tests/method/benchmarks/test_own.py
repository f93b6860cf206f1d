from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.own import renamed
from selftaught_assets_tests.method.benchmarks.records import winner


def test_a_field_is_read_from_its_column_and_the_others_stay():
    record = {"question": "x", "label": "their label", "better": "1"}
    mapped = renamed(record, {"instruction": "question", "label": "better"})
    assert mapped == record | {"instruction": "x", "label": "1"}


def test_columns_may_change_places():
    assert renamed({"a": 1, "b": 2}, {"a": "b", "b": "a"}) == {"a": 2, "b": 1}


def test_own_preferences_are_placed():
    rows = [{"id": number, "instruction": f"x{number}", "chosen": "right", "rejected": "wrong"} for number in range(20)]
    table = benchmark_rows("mine", rows, "chosen_rejected")
    assert {winner(table, number) for number in range(20)} == {"right"}
    assert set(table["label"]) == {"A", "B"}
