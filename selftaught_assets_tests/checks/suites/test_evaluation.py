"""The checks of `evaluation` and `seed_evaluation`, fault by fault."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets_tests.checks.world import FIRST, SECOND, Fault, World, assert_caught, copied, in_all, value

on_benchmark = pl.col("benchmark") != HELD_OUT
wrong = pl.when(pl.col("label") == "A").then(pl.lit("B")).otherwise(pl.lit("A"))


def greedy_ids(where: pl.Expr, asset: str = "evaluation") -> Callable[[World], list[object]]:
    return lambda world: world.tables[asset].filter((pl.col("decoding") == "greedy") & where)["item_id"].to_list()


def many(world: World, asset: str = "evaluation", copies: int = 30) -> World:
    """The same verdicts on so many times the items, each with an instruction of its own."""
    again = [pl.col(name) + f"-{n}" for n in range(copies) for name in ("item_id", "instruction_id")]
    pairs = zip(again[::2], again[1::2], strict=True)
    return world.changed(asset, lambda frame: pl.concat([frame.with_columns(pair) for pair in pairs]))


def answering(where: pl.Expr, verdict: pl.Expr, asset: str = "evaluation") -> Callable[[World], World]:
    """Other verdicts on some of the items."""
    return in_all(asset, verdict=pl.when(where).then(verdict).otherwise("verdict"))


def never_asked(where: pl.Expr, asset: str = "evaluation") -> Callable[[World], World]:
    """Some of the items are too long for the judge."""
    too_long = pl.lit("prompt_too_long")
    return in_all(asset, finish_reason=pl.when(where).then(too_long).otherwise("finish_reason"))


def lost(world: World) -> World:
    """All right before, all wrong now."""
    return answering(on_benchmark, wrong)(world)


def of_the_synthetic_kind_only(world: World) -> World:
    """Right on every held-out pair, a coin on the benchmark."""
    coin = pl.col("item_id").str.contains("^b[12]")
    return answering(on_benchmark & coin, wrong)(many(world))


def fault(asset: str, check: str, rule: str, plant: Callable[[World], World], ids=None) -> Fault:
    return Fault(asset, check, rule, plant, ids, "WARN")


INVALID = pl.lit(None, dtype=pl.String)

FAULTS = [
    *(
        fault(
            asset,
            "beyond_chance",
            "labelled_accuracy_low",
            answering(on_benchmark & (pl.col("order") == "AB"), wrong, asset),
            greedy_ids(on_benchmark & (pl.col("order") == "AB"), asset),
        )
        for asset in ("evaluation", "seed_evaluation")
    ),
    *(
        fault(
            asset,
            "invalid_share",
            "benchmark_invalid_share",
            answering(on_benchmark, INVALID, asset),
            greedy_ids(on_benchmark, asset),
        )
        for asset in ("evaluation", "seed_evaluation")
    ),
    fault(
        "evaluation",
        "invalid_share",
        "held_out_invalid_share",
        answering(~on_benchmark, INVALID),
        greedy_ids(~on_benchmark),
    ),
    fault(
        "evaluation",
        "invalid_share",
        "benchmark_too_long_share",
        never_asked(on_benchmark),
        greedy_ids(on_benchmark),
    ),
    fault(
        "evaluation",
        "invalid_share",
        "held_out_too_long_share",
        never_asked(~on_benchmark),
        greedy_ids(~on_benchmark),
    ),
    fault(
        "seed_evaluation",
        "invalid_share",
        "benchmark_too_long_share",
        never_asked(on_benchmark, "seed_evaluation"),
        greedy_ids(on_benchmark, "seed_evaluation"),
    ),
    fault("evaluation", "not_worse", "labelled_gain", lost, greedy_ids(on_benchmark)),
    fault("evaluation", "overfit_gap", "overfit_gap", of_the_synthetic_kind_only),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


def test_the_second_iteration_is_compared_with_the_first_and_not_with_the_seed(world: World, tmp_path: Path):
    spoiled = copied(world, tmp_path / "copy")
    assert value(spoiled.result("evaluation", "not_worse", SECOND), "labelled_gain") == 0.0
    lost(spoiled).tables["evaluation"].write_parquet(spoiled.layout.table("evaluation", FIRST))
    assert value(spoiled.result("evaluation", "not_worse", SECOND), "labelled_gain") == 1.0
    assert value(lost(spoiled).result("evaluation", "not_worse", FIRST), "labelled_gain") == -1.0


def test_a_loss_on_few_instructions_is_not_told_from_chance(world: World):
    """All that moved got worse, but five of five do so by tosses of a coin in one case of sixteen."""
    spoiled = answering(on_benchmark & (pl.col("item_id") != "b1"), wrong)(world)
    result = spoiled.result("evaluation", "not_worse")
    assert result.passed
    assert value(result, "labelled_gain") == pytest.approx(-5 / 6)
    assert value(result, "labelled_gain_high") == 0.0


def test_a_judge_measured_on_other_pairs_is_not_compared(world: World, tmp_path: Path):
    spoiled = copied(world, tmp_path / "copy")
    seed = world.tables["seed_evaluation"].with_columns(item_id=pl.col("item_id") + "x")
    seed.write_parquet(spoiled.layout.table("seed_evaluation"))
    for changed in (spoiled, replace(spoiled, layout=replace(spoiled.layout, root=tmp_path / "nothing"))):
        result = lost(changed).result("evaluation", "not_worse")
        assert result.passed
        assert "cannot be measured" in result.description


def test_a_gap_on_few_items_proves_nothing(world: World):
    """One of six benchmark items wrong in both orders: a gap of one sixth, from six items."""
    spoiled = answering(pl.col("item_id") == "b1", wrong)(world)
    result = spoiled.result("evaluation", "overfit_gap")
    assert value(result, "overfit_gap") == pytest.approx(1 / 6)
    assert value(result, "overfit_gap_low") < 0.1
    assert result.passed


def test_no_held_out_pair_cannot_tell_a_gap_and_passes(world: World):
    result = world.changed("evaluation", lambda frame: frame.filter(on_benchmark)).result("evaluation", "overfit_gap")
    assert result.passed
    assert "cannot be measured" in result.description
    assert value(result, "held_out_verdicts") == 0


def test_held_out_verdicts_are_expected_row_by_row(world: World):
    assert world.result("evaluation", "rows_accounted").passed
    missing = world.changed("evaluation", lambda frame: frame.filter(on_benchmark)).result(
        "evaluation", "rows_accounted"
    )
    held_out = world.tables["evaluation"].filter(~on_benchmark).height
    assert held_out > 0
    assert value(missing, "rows_missing") == held_out
    voted = world.changed(
        "evaluation",
        lambda frame: frame.with_columns(decoding=pl.when(on_benchmark).then("decoding").otherwise(pl.lit("vote"))),
    )
    assert value(voted.result("evaluation", "rows_accounted"), "rows_unexpected") == held_out
