"""The check of `benchmarks`, fault by fault."""

import polars as pl
import pytest

from selftaught_assets_tests.checks.world import Fault, World, assert_caught, in_all, value

UNREAD = in_all(
    "benchmarks",
    label=pl.lit(None, dtype=pl.String),
    label_seen=pl.when(pl.int_range(pl.len()) < 5).then(pl.lit("left")).otherwise(pl.lit("")),
    drop_reason=pl.lit("no_label"),
)

FAULTS = [
    Fault(
        "benchmarks",
        "labels_read",
        "unlabelled_share",
        UNREAD,
        lambda world: world.tables["benchmarks"]["item_id"].to_list(),
        "WARN",
    )
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


def test_values_that_are_no_label_are_counted(world: World):
    result = UNREAD(world).result("benchmarks", "labels_read")
    assert value(result, "no_label/labelled/'left'") == 5
    assert value(result, "no_label/labelled/''") == 2


def test_a_small_benchmark_without_labels_is_not_lost_among_large_ones(world: World):
    table = world.tables["benchmarks"]
    small = UNREAD(world).tables["benchmarks"].with_columns(benchmark=pl.lit("small"))
    mixed = world.changed("benchmarks", lambda _: pl.concat([table] * 500 + [small]))
    result = mixed.result("benchmarks", "labels_read")
    assert not result.passed
    assert value(result, "unlabelled_share_n") == table.height


def test_one_row_of_a_hundred_is_no_fault(world: World):
    table = world.tables["benchmarks"]
    many = pl.concat([UNREAD(world).tables["benchmarks"].head(1), *[table] * 15])
    assert world.changed("benchmarks", lambda _: many).result("benchmarks", "labels_read").passed
