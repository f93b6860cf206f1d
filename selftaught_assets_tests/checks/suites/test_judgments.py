"""The checks of `judgments`, fault by fault; those of the single form are in test_single.py."""

import polars as pl
import pytest

from selftaught_assets.method.judging import judgment_quality
from selftaught_assets_tests.checks.tables import spoil
from selftaught_assets_tests.checks.world import Fault, World, assert_caught, in_all, value

FIRST_ONES = pl.col("sample_index") == 0


def firsts(world: World, where: pl.Expr | None = None) -> list[object]:
    table = world.tables["judgments"].filter(FIRST_ONES)
    return (table if where is None else table.filter(where))["judgment_id"].to_list()


def warning(check: str, rule: str, ids=firsts, **values: pl.Expr) -> Fault:
    return Fault("judgments", check, rule, in_all("judgments", **values), ids, "WARN")


def one(rule: str, **values: object) -> Fault:
    def plant(world: World) -> World:
        return world.changed("judgments", lambda frame: spoil(frame, 0, **values))

    return Fault(
        "judgments", "verdicts_reparsed", rule, plant, lambda world: [world.tables["judgments"]["judgment_id"][0]]
    )


def unsampled(world: World) -> World:
    pair = world.tables["pairs"]["pair_id"][5]
    return world.changed("judgments", lambda frame: frame.filter(pl.col("pair_id") != pair))


is_a = pl.col("chosen_position") == "A"

FAULTS = [
    warning("judgment_quality", "parsed_share", verdict=pl.lit(None, dtype=pl.String)),
    warning("judgment_quality", "truncated_share", finish_reason=pl.lit("length")),
    warning("judgment_quality", "correct_share", is_correct=pl.lit(False)),
    warning(
        "judgment_quality",
        "solved_share",
        lambda world: (
            world.tables["judgments"].filter(pl.int_range(pl.len()).over("pair_id") == 0)["judgment_id"].to_list()
        ),
        is_correct=pl.lit(False),
    ),
    warning(
        "position_bias",
        "position_bias",
        lambda world: firsts(world, pl.col("verdict") == "A"),
        verdict=pl.lit("A"),
        is_correct=is_a,
    ),
    Fault(
        "judgments",
        "kept_pairs_sampled",
        "pairs_unsampled",
        unsampled,
        lambda world: [world.tables["pairs"]["pair_id"][5]],
    ),
    Fault(
        "judgments",
        "kept_pairs_sampled_warnings",
        "unanswered_share",
        in_all("judgments", drop_reason=pl.lit("prompt_too_long")),
        lambda world: world.tables["pairs"].filter(pl.col("drop_reason").is_null())["pair_id"].to_list(),
        "WARN",
    ),
    one("verdicts_differ", judgment="so [[A]] … or no: [[B]]"),
    one("correctness_differs", is_correct=True),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


def test_a_judge_that_is_always_right_has_nothing_left_to_learn(world: World):
    many = world.changed("judgments", lambda frame: pl.concat([_again(frame, copy) for copy in range(10)]))
    always = in_all("judgments", verdict=pl.col("chosen_position"), is_correct=pl.lit(True))(many)
    result = always.result("judgments", "judgment_quality")
    assert not result.passed
    assert value(result, "correct_share") == 1.0
    assert value(result, "correct_share_max") == 0.98


def test_rows_without_an_answer_count_neither_in_the_check_nor_in_the_metadata(world: World):
    lost = pl.int_range(pl.len()) % 3 == 1
    plant = in_all(
        "judgments",
        drop_reason=pl.when(lost).then(pl.lit("failed")),
        finish_reason=pl.when(lost).then(pl.lit("failed")).otherwise("finish_reason"),
        verdict=pl.when(~lost).then("verdict"),
        is_correct=pl.col("is_correct") & ~lost,
    )
    spoiled = plant(world)
    result = spoiled.result("judgments", "judgment_quality")
    quality = judgment_quality(spoiled.tables["judgments"], firsts_only=True)
    assert 0 < value(result, "correct_share_n") < 29
    assert value(result, "correct_share") == pytest.approx(quality["correct_share"])
    assert value(result, "parsed_share") == pytest.approx(1 - quality["invalid_share"])
    assert value(result, "truncated_share") == quality["truncated_share"]
    assert value(result, "solved_share") == pytest.approx(quality["solved_share"])


def test_a_judge_that_was_asked_about_six_of_ten_pairs_and_is_always_right_is_always_right():
    pairs = [str(number) for number in range(10)]
    table = pl.DataFrame(
        {"pair_id": pairs, "sample_index": 0, "chosen_position": "A", "verdict": ["A"] * 6 + [None] * 4}
    ).with_columns(
        is_correct=pl.col("verdict").is_not_null(),
        finish_reason=pl.when(pl.col("verdict").is_null()).then(pl.lit("failed")).otherwise(pl.lit("stop")),
        drop_reason=pl.when(pl.col("verdict").is_null()).then(pl.lit("failed")),
    )
    quality = judgment_quality(table, firsts_only=True)
    assert (quality["correct_share"], quality["invalid_share"], quality["solved_share"]) == (1, 0, 1)


def test_the_share_of_a_is_told_by_where_the_winner_stands(world: World):
    result = in_all("judgments", verdict=pl.lit("A"), is_correct=is_a)(world).result("judgments", "position_bias")
    assert value(result, "says_a_where_winner_in_A") == value(result, "says_a_where_winner_in_B") == 1.0
    assert value(result, "position_bias") == 0.5


def test_a_preference_for_b_is_a_bias_too(world: World):
    spoiled = in_all("judgments", verdict=pl.lit("B"), is_correct=~is_a)(world)
    assert value(spoiled.result("judgments", "position_bias"), "position_bias") == -0.5


def _again(frame: pl.DataFrame, copy: int) -> pl.DataFrame:
    return frame.with_columns(pl.col("pair_id") + str(copy))
