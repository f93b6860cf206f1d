import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account

reasons = st.lists(st.none() | st.sampled_from(["empty", "duplicate", "truncated"]), max_size=30)


def table(values: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"drop_reason": values}, schema={"drop_reason": pl.String})


@given(values=reasons)
def test_kept_and_dropped_rows_add_up(values):
    accounts = account(table(values), len(values))
    assert accounts.kept + sum(accounts.dropped.values()) == accounts.rows_in == len(values)
    assert accounts.kept == values.count(None)
    assert accounts.dropped == {reason: values.count(reason) for reason in set(values) - {None}}


@given(values=reasons, difference=st.integers(-5, 5).filter(bool))
def test_rows_that_vanish_or_appear_are_refused(values, difference):
    with pytest.raises(ValueError, match="rows went in"):
        account(table(values), len(values) + difference)


def test_the_most_frequent_reason_comes_first():
    accounts = account(table(["a", "b", "b", None]), 4)
    assert list(accounts.dropped) == ["b", "a"]
