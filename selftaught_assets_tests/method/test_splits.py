import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.identity import row_id
from selftaught_assets.method.training_set import assign_split
from selftaught_assets_tests.method.tables import seeds


def instructions(numbers: list[int]) -> pl.DataFrame:
    ids = [row_id("instruction", number) for number in numbers]
    return pl.DataFrame({"instruction_id": ids}, schema={"instruction_id": pl.String})


@given(numbers=st.lists(st.integers(0, 30), max_size=60), share=st.floats(0, 1), seed=seeds)
def test_no_instruction_stands_on_both_sides(numbers, share, seed):
    frame = assign_split(instructions(numbers), validation_share=share, seed=seed)
    sides = frame.group_by("instruction_id").agg(pl.col("split").n_unique())["split"]
    assert set(sides) <= {1}


@given(numbers=st.lists(st.integers(0, 30), max_size=30), more=st.lists(st.integers(31, 60), max_size=30), seed=seeds)
def test_an_instruction_keeps_its_side_when_others_come_or_go(numbers, more, seed):
    alone = assign_split(instructions(numbers), validation_share=0.3, seed=seed)
    among_others = assign_split(instructions(more + numbers), validation_share=0.3, seed=seed)
    assert among_others.tail(len(numbers)).equals(alone)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_is_met_on_average(share):
    frame = assign_split(instructions(list(range(5000))), validation_share=share, seed=3)
    assert abs((frame["split"] == "validation").mean() - share) < 0.02


@pytest.mark.parametrize(("share", "only"), [(0.0, "train"), (1.0, "validation")])
def test_the_extremes_leave_one_side_empty(share, only):
    frame = assign_split(instructions(list(range(500))), validation_share=share, seed=3)
    assert frame["split"].unique().to_list() == [only]
