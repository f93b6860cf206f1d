import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.instructions import SELECTION_DROP_REASONS, select_instructions
from selftaught_assets.method.pool import fields_that_differ, pool_rows, with_input
from selftaught_assets_tests.method.tables import kept, seeds


def pool(*instructions: str, categories: list[str | None] | None = None) -> pl.DataFrame:
    categories = categories or [None] * len(instructions)
    return pool_rows(
        {"line": line, "instruction": instruction, "source": "test", "category": category}
        for line, (instruction, category) in enumerate(zip(instructions, categories, strict=True), start=1)
    )


NUMBERED = pool(*(f"Do number {number}" for number in range(60)))


def select(table: pl.DataFrame = NUMBERED, **changes: object) -> pl.DataFrame:
    defaults = {
        "count": 20,
        "schedule": "fixed",
        "iteration": 1,
        "seed": 1,
        "max_characters": 8000,
        "categories": None,
    }
    return select_instructions(table, **defaults | changes)


def selected(table: pl.DataFrame = NUMBERED, **changes: object) -> set[str]:
    return set(kept(select(table, **changes))["instruction_id"])


def test_empty_lines_and_repetitions_of_the_pool_are_dropped_with_their_reason():
    table = pool("Sort a", " \n", "sort   A", "Sort b")
    assert table["drop_reason"].to_list() == [None, "empty", "duplicate", None]


def test_several_empty_lines_are_all_called_empty():
    assert pool("", " ")["drop_reason"].to_list() == ["empty", "empty"]


def test_an_instruction_id_depends_on_the_text_alone():
    assert pool("x", "a")["instruction_id"][1] == pool("a")["instruction_id"][0]


def test_an_empty_pool_is_an_empty_table():
    assert pool().height == 0


@given(texts=st.lists(st.text("aA \n", max_size=4), max_size=30), shuffle=st.randoms())
def test_the_order_of_records_does_not_change_which_are_kept(texts, shuffle):
    records = [{"line": n, "instruction": t, "source": None, "category": None} for n, t in enumerate(texts, start=1)]
    expected = pool_rows(records).sort("line")
    shuffle.shuffle(records)
    assert pool_rows(records).sort("line").equals(expected)
    account(expected, len(texts))


def test_fixed_takes_the_same_instructions_in_every_iteration():
    assert selected(iteration=1) == selected(iteration=2) == selected(iteration=9)
    assert len(selected()) == 20


def test_fresh_never_takes_an_instruction_twice():
    taken = [selected(schedule="fresh", iteration=iteration) for iteration in (1, 2, 3)]
    assert [len(part) for part in taken] == [20, 20, 20]
    assert len(set.union(*taken)) == 60


def test_fresh_begins_with_what_fixed_takes():
    assert selected(schedule="fresh") == selected(schedule="fixed")


def test_the_last_of_the_pool_may_be_fewer():
    assert len(selected(schedule="fresh", count=25, iteration=3)) == 10
    assert len(selected(count=100)) == 60


def test_an_iteration_for_which_nothing_is_left_is_refused():
    with pytest.raises(ValueError, match="Iteration 4 has no instruction left: 60 of the pool's 60"):
        select(schedule="fresh", iteration=4)


def test_a_pool_of_which_nothing_is_usable_is_refused():
    with pytest.raises(ValueError, match="0 of the pool's 60 instructions are usable"):
        select(max_characters=3)


def test_unselected_rows_say_why():
    table = pool("short", "much too long", "other", "none", "", categories=["a", "a", "b", None, "a"])
    frame = select(table, max_characters=6, categories=["a"])
    assert frame["drop_reason"].to_list() == [None, "too_long", "other_category", "other_category", "empty"]
    assert select(NUMBERED)["drop_reason"].drop_nulls().unique().to_list() == ["not_selected"]
    assert set(SELECTION_DROP_REASONS) == {"too_long", "other_category", "not_selected"}


def test_characters_are_counted_and_not_bytes():
    assert kept(select(pool("äöüß"), max_characters=4)).height == 1


def test_dropped_rows_take_no_place_of_usable_ones():
    long_ones = (f"Do, if at all possible, number {number}" for number in range(60))
    table = pool(*(f"Do number {number}" for number in range(60)), *long_ones)
    assert selected(table, max_characters=15) == selected(NUMBERED)


@given(seed=seeds, count=st.integers(1, 70), shuffle=st.randoms())
def test_selection_belongs_to_ids_and_not_to_the_order_of_rows(seed, count, shuffle):
    rows = list(range(NUMBERED.height))
    shuffle.shuffle(rows)
    assert selected(NUMBERED[rows], seed=seed, count=count) == selected(seed=seed, count=count)


@given(seed=seeds, small=st.integers(1, 60), large=st.integers(1, 60))
def test_a_larger_count_contains_the_smaller_one(seed, small, large):
    assert selected(seed=seed, count=min(small, large)) <= selected(seed=seed, count=max(small, large))


def test_every_instruction_is_selected_equally_often():
    table = NUMBERED.head(6)
    counts = dict.fromkeys(table["instruction_id"], 0)
    for seed in random.Random(1).sample(range(10**9), 300):
        for instruction in selected(table, seed=seed, count=2):
            counts[instruction] += 1
    statistic = sum((count - 100) ** 2 / (100 * 4 / 5) for count in counts.values())
    assert statistic < 20.5, "near chi-square with 5 degrees of freedom, p = 0.001"


def test_a_text_under_two_categories_is_selected_under_the_one_that_is_wanted():
    table = pool("Sort a", "sort  A", "Sort a", categories=["chat", "coding", "coding"])
    assert table["drop_reason"].to_list() == [None, "duplicate", "duplicate"]
    chosen = select(table, categories=["coding"])["drop_reason"].to_list()
    assert chosen == ["other_category", None, "duplicate"]
    assert select(table, categories=["chat"])["drop_reason"].to_list() == [None, "other_category", "other_category"]
    assert select(table)["drop_reason"].to_list() == [None, "duplicate", "duplicate"]


def test_a_text_that_is_too_long_by_its_blanks_does_not_hide_the_short_one():
    table = pool("a" + " " * 50 + "b", "a b")
    assert select(table, max_characters=9)["drop_reason"].to_list() == ["too_long", None]


def test_an_id_of_the_file_stays_with_its_row():
    rows = [{"line": 1, "pool_id": "pool-00017", "instruction": "x", "source": None, "category": None}]
    assert pool_rows(rows)["pool_id"].to_list() == ["pool-00017"]
    assert select(pool_rows(rows))["pool_id"].to_list() == ["pool-00017"]


@pytest.mark.parametrize(
    ("given", "expected"), [("3 1 2", "Sort.\n\nInput:\n3 1 2"), ("", "Sort."), (" \n", "Sort."), (None, "Sort.")]
)
def test_the_text_that_an_instruction_is_about_follows_it(given, expected):
    assert with_input("Sort.", given) == expected


def test_fields_in_which_repeated_instructions_differ_are_counted():
    records = [
        {"do": "Sort.", "input": "1", "output": "x", "n": 1},
        {"do": "Sort.", "input": "2", "output": "x", "n": 2},
        {"do": "Sort.", "input": "3", "output": "y", "n": 3},
        {"do": "Add.", "input": "4", "output": "z", "n": 4},
    ]
    assert fields_that_differ(records, "do") == {"input": 2, "output": 1}
    assert fields_that_differ(records[2:], "do") == {}


def test_a_category_that_no_row_has_is_named_with_those_that_there_are():
    table = pool("a", "b", categories=["math", "coding"])
    with pytest.raises(ValueError, match=r"has the category 'codnig'; its categories are 'coding', 'math'\."):
        select(table, categories=["math", "codnig"])
    with pytest.raises(ValueError, match=r"has the category 'math'; its categories are none\."):
        select(pool("a"), categories=["math"])


def of_sources(**sizes: int) -> pl.DataFrame:
    return pool_rows(
        {"line": line, "instruction": f"{source}: {line}", "source": f"{source}/part"}
        for source, size in sizes.items()
        for line in range(1, size + 1)
    )


def counted(table: pl.DataFrame) -> dict[str, int]:
    return dict(kept(table)["source"].value_counts().iter_rows())


@given(st.integers(1, 30), st.lists(st.floats(0.01, 1), min_size=3, max_size=3), seeds)
def test_each_source_gives_its_share(count, shares, seed):
    named = dict(zip("abc", shares, strict=True))
    chosen = select(of_sources(a=60, b=60, c=60), count=count, seed=seed, shares=named)
    assert kept(chosen).height == count
    for name, share in named.items():
        exact = count * share / sum(shares)
        assert abs(counted(chosen).get(f"{name}/part", 0) - exact) < 1


def test_a_source_that_has_too_few_gives_what_it_has():
    chosen = select(of_sources(a=2, b=60), count=20, shares={"a": 1, "b": 1})
    assert counted(chosen) == {"a/part": 2, "b/part": 10}


def test_fresh_instructions_of_shares_are_never_the_same():
    table = of_sources(a=12, b=12)
    chosen = [
        kept(select(table, count=6, schedule="fresh", iteration=iteration, shares={"a": 2, "b": 1}))
        for iteration in (1, 2, 3)
    ]
    assert [counted(one) for one in chosen] == [{"a/part": 4, "b/part": 2}] * 3
    assert pl.concat(chosen)["instruction_id"].is_duplicated().sum() == 0
