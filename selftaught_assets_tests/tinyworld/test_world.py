import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.tinyworld.world import Split, draw_task, is_proper, modify_task, read_instruction, split_of

SEEDS = st.integers(0, 2**32)
SPLITS: tuple[Split, ...] = ("training", "pool", "benchmark", "validation")


@given(SEEDS, st.sampled_from(SPLITS))
def test_worded_task_is_read_back(seed: int, split: Split) -> None:
    rng = random.Random(seed)
    task = draw_task(rng, split)
    assert read_instruction(task.worded(rng)) == task


@given(SEEDS, st.sampled_from(SPLITS))
def test_drawn_list_belongs_to_the_split_asked_for(seed: int, split: Split) -> None:
    assert split_of(draw_task(random.Random(seed), split).items) == split


@given(SEEDS)
def test_modified_task_has_another_answer_and_the_same_split(seed: int) -> None:
    rng = random.Random(seed)
    task = draw_task(rng, "training")
    modified = modify_task(rng, task)
    assert modified.answer != task.answer
    assert split_of(modified.items) == "training"
    assert is_proper(modified)


@given(SEEDS)
def test_modified_task_stays_close(seed: int) -> None:
    rng = random.Random(seed)
    task = draw_task(rng, "training")
    modified = modify_task(rng, task)
    changed_items = sum(a != b for a, b in zip(task.items, modified.items, strict=True))
    assert changed_items == 0 or (changed_items == 1 and modified.operation == task.operation)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pear fig kiwi",
        "Sort the words :",
        "Sort the words : pear 7 fig",
        "Sort the words : 3 1 2",
        "Sort the planets : pear fig kiwi",
        "Keep numbers above pear : 3 1 2",
        "Keep only the planets : pear fig kiwi",
    ],
)
def test_malformed_instruction_is_not_read(text: str) -> None:
    assert read_instruction(text) is None
