import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.identity import derive_seed, draw, row_id, share
from selftaught_assets_tests.method.tables import seeds

WORD = (1 << 64) - 1
ids = st.integers(0, WORD).map(lambda value: f"{value:016x}")


def split_mix_64(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def drawn(values: list[str], seed: int, purpose: str = "test") -> list[int]:
    return (
        pl.DataFrame({"id": values}, schema={"id": pl.String}).select(draw("id", seed, purpose)).to_series().to_list()
    )


@given(values=st.lists(ids, max_size=20), seed=seeds)
def test_draws_are_split_mix_64_of_id_and_seed(values, seed):
    """Pins Polars' wrapping arithmetic on UInt64, and with it every selection that was ever made."""
    key = derive_seed(seed, "test")
    assert drawn(values, seed) == [split_mix_64(int(value, 16) ^ key) for value in values]


@given(values=st.lists(ids, unique=True, max_size=50), seed=seeds)
def test_different_ids_never_tie(values, seed):
    assert len(set(drawn(values, seed))) == len(values)


@given(values=st.lists(ids, unique=True, max_size=20), seed=seeds)
def test_a_draw_belongs_to_the_id_and_not_to_its_place(values, seed):
    assert drawn(values[::-1], seed) == drawn(values, seed)[::-1]


def test_purposes_are_independent_of_each_other():
    values = [row_id("test", number) for number in range(4000)]
    low = [value for value, lot in zip(values, drawn(values, 1, "selection"), strict=True) if lot < 1 << 61]
    held_out = sum(lot < 1 << 61 for lot in drawn(low, 1, "split"))
    assert 35 <= held_out <= 95, f"an eighth of {len(low)} expected"


def test_shares_are_uniform():
    frame = pl.DataFrame({"id": [row_id("test", number) for number in range(10_000)]})
    counts = frame.select((share("id", 7, "test") * 10).floor().cast(pl.Int64).alias("bin")).group_by("bin").len()
    statistic = sum((count - 1000) ** 2 / 1000 for count in counts["len"])
    assert statistic < 27.9, "chi-square with 9 degrees of freedom, p = 0.001"


def test_an_id_that_is_no_hash_is_refused():
    with pytest.raises(pl.exceptions.ComputeError):
        drawn(["not a hash"], 1)
