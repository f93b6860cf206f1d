import hashlib
import subprocess
import sys

import polars as pl
import pytest

from selftaught_assets.method.identity import derive_seed, digest, frame_digest, python_values, row_id, row_ids


def test_an_id_is_the_same_in_another_process():
    code = "from selftaught_assets.method.identity import row_id; print(row_id('pair', 'ä', 1, None))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == row_id("pair", "ä", 1, None)


def test_ids_are_pinned():
    """A change here renames every row of every table that anybody has."""
    assert row_id("pair", "x") == "c4bfd92163bef311"


def test_the_kind_keeps_equal_content_of_two_tables_apart():
    assert row_id("pair", "x") != row_id("judgment", "x")


def test_moving_text_from_one_part_to_the_next_changes_the_digest():
    assert digest("ab", "c") != digest("a", "bc")


def test_the_order_of_keys_does_not_change_the_digest():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_row_ids_are_the_ids_of_the_rows():
    assert row_ids("pair", ["x", "y"], [1, 2]) == [row_id("pair", "x", 1), row_id("pair", "y", 2)]


def test_row_ids_refuse_columns_of_different_length():
    with pytest.raises(ValueError):
        row_ids("pair", ["x", "y"], [1])


def test_a_seed_fits_63_bits_and_depends_on_every_part():
    values = {derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(2, "a")}
    assert len(values) == 3
    assert all(0 <= value < 2**63 for value in values)


def test_a_frame_digest_depends_on_names_values_and_order():
    base = frame_digest([("a", [1]), ("b", [2])])
    assert base == frame_digest([("a", [1]), ("b", [2])])
    assert base != frame_digest([("a", [1]), ("c", [2])])
    assert base != frame_digest([("a", [1]), ("b", [3])])
    assert base != frame_digest([("b", [2]), ("a", [1])])


def test_a_frame_digest_is_that_of_whole_columns() -> None:
    values = ["x", None, 1.5, [{"role": "user"}]] * 700
    whole = hashlib.sha256(digest("a", values).encode() + digest("b", []).encode()).hexdigest()
    assert frame_digest([("a", iter(values)), ("b", [])]) == whole


def test_values_are_given_as_python_gives_them_also_in_lists() -> None:
    column = pl.Series([[{"role": "user"}], None, []] * 500)
    assert list(python_values(column)) == column.to_list()
