"""The check `rows_accounted` of every table, fault by fault."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from selftaught_assets_tests.checks.tables import make_tables, spoil, without, write_recipe
from selftaught_assets_tests.checks.world import Fault, World, assert_caught, offenders, value

ROW = 5

ASSETS_WITH_IDS = ("pairs", "judgments", "filtered_set")
KEYS = {
    "instruction_pool": "line",
    "instructions": "line",
    "pairs": "instruction_id",
    "judgments": "pair_id",
    "filtered_set": "judgment_id",
    "evaluation": "item_id",
    "seed_evaluation": "item_id",
}


def faults_of(asset: str) -> list[Fault]:
    """A row vanished, a row came from nowhere, a row twice, a row dropped without a known reason."""

    def fault(rule: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Fault:
        def plant(world: World) -> World:
            return world.changed(asset, change)

        return Fault(asset, "rows_accounted", rule, plant)

    def repeat(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame, frame[[ROW]]])

    def drop_for_nothing(frame: pl.DataFrame) -> pl.DataFrame:
        reason = pl.lit(None, dtype=pl.String).alias("drop_reason")
        return spoil(frame if "drop_reason" in frame.columns else frame.with_columns(reason), ROW, drop_reason="")

    faults = [
        fault("rows_missing", lambda frame: without(frame, ROW)),
        fault("rows_unexpected", repeat),
        fault("reasons_unknown", drop_for_nothing),
    ]
    return [*faults, fault("ids_repeated", repeat)] if asset in ASSETS_WITH_IDS else faults


def nobody_dropped(asset: str) -> Fault:
    """In the pool the last line repeats the first, which is a fault as soon as both are kept."""
    return Fault(
        asset,
        "rows_accounted",
        "ids_repeated",
        lambda world: world.changed(asset, lambda frame: frame.with_columns(drop_reason=pl.lit(None, dtype=pl.String))),
    )


OF_ROWS = [fault for asset in KEYS for fault in faults_of(asset)]
REPEATED = [nobody_dropped(asset) for asset in ("instruction_pool", "instructions")]
FAULTS = [*OF_ROWS, *REPEATED]


@pytest.mark.parametrize("fault", OF_ROWS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught_with_its_row(fault: Fault, world: World):
    """The row is named by the key by which it is expected, which the check shows first."""
    spoiled = fault.plant(world)
    assert_caught(fault, spoiled)
    result = spoiled.result(fault.asset, "rows_accounted")
    key = KEYS[fault.asset]
    both = 2 if fault.rule == "ids_repeated" else 1  # Rows that share an id are all at fault.
    assert value(result, fault.rule) == both
    assert offenders(result, fault.rule, key) == [str(world.tables[fault.asset][key][ROW])] * both


def test_a_missing_benchmark_pair_is_named(world: World):
    spoiled = world.changed("benchmarks", lambda frame: without(frame, 1))
    result = spoiled.result("benchmarks", "rows_accounted")
    assert offenders(result, "rows_missing", "item_id") == ["b2"]


@pytest.mark.parametrize("fault", REPEATED, ids=lambda fault: fault.name)
def test_a_repeated_instruction_among_the_kept_ones_is_named(fault: Fault, world: World):
    spoiled = fault.plant(world)
    assert_caught(fault, spoiled)
    first = world.tables[fault.asset]["instruction_id"][0]
    assert offenders(spoiled.result(fault.asset, "rows_accounted"), "ids_repeated", "instruction_id") == [first, first]


def test_a_row_swapped_for_another_does_not_hide_behind_an_equal_count(world: World):
    spoiled = world.changed("pairs", lambda pairs: spoil(pairs, ROW, instruction_id="nobody"))
    result = spoiled.result("pairs", "rows_accounted")
    assert value(result, "rows") == value(result, "rows_expected") == 30
    assert offenders(result, "rows_missing", "instruction_id") == [world.tables["pairs"]["instruction_id"][ROW]]
    assert offenders(result, "rows_unexpected", "instruction_id") == ["nobody"]


def test_the_account_adds_up_in_the_metadata(world: World):
    result = world.result("filtered_set", "rows_accounted")
    dropped = sum(entry.value for name, entry in result.metadata.items() if name.startswith("dropped_"))
    assert value(result, "rows_expected") == value(result, "rows") == value(result, "rows_kept") + dropped
    assert value(result, "rows") == world.tables["judgments"].height


def test_judging_both_positions_expects_twice_the_judgments(world: World, tmp_path):
    recipe = write_recipe(tmp_path, judgments={"n": 3, "positions": "both"})
    both = replace(world, recipe=recipe, tables=make_tables(recipe))
    assert both.result("judgments", "rows_accounted").passed
    half = both.changed("judgments", lambda frame: frame.filter(pl.col("chosen_position") == "A"))
    assert value(half.result("judgments", "rows_accounted"), "rows_missing") == 29 * 3


def test_a_judgment_after_the_one_that_ends_the_search_is_unexpected(world: World, tmp_path):
    pair = world.tables["judgments"]["pair_id"][0]
    first = (pl.col("pair_id") == pair) & (pl.col("sample_index") == 0)
    spoiled = world.changed("judgments", lambda frame: frame.with_columns(is_correct=pl.col("is_correct") | first))
    result = spoiled.result("judgments", "rows_accounted")
    assert offenders(result, "rows_unexpected", "pair_id") == [pair, pair]
    recipe = write_recipe(tmp_path, judgments={"n": 3, "stop": "never"})
    every = replace(world, recipe=recipe, tables=make_tables(recipe))
    assert every.result("judgments", "rows_accounted").passed


def test_a_search_that_ended_without_a_right_judgment_lacks_rows(world: World):
    pair = world.tables["judgments"]["pair_id"][0]
    last = (pl.col("pair_id") == pair) & (pl.col("sample_index") == 2)
    spoiled = world.changed("judgments", lambda frame: frame.filter(~last))
    assert offenders(spoiled.result("judgments", "rows_accounted"), "rows_missing", "pair_id") == [pair]
