"""The checks of `pairs`, fault by fault."""

from collections.abc import Callable

import polars as pl
import pytest

from selftaught_assets.checks.suites.pairs import CAUSES
from selftaught_assets.method.pairs import DROP_REASONS
from selftaught_assets_tests.checks.tables import spoil, words
from selftaught_assets_tests.checks.world import Fault, World, assert_caught, in_all, kept_ids, value

ROW = 5
ALL = kept_ids("pairs", "pair_id")
"""All kept pairs: the third one is dropped."""


def one(rule: str, **values: str | None) -> Fault:
    """Other values in one row."""

    def plant(world: World) -> World:
        return world.changed("pairs", lambda pairs: spoil(pairs, ROW, **values))

    return Fault("pairs", "pair_validity", rule, plant, lambda world: [world.tables["pairs"]["pair_id"][ROW]])


def dropped(cause: str) -> Fault:
    """Every pair lost for one reason, each reason of a cause in turn."""
    reasons = CAUSES[cause]
    reason = pl.int_range(pl.len()).mod(len(reasons)).cast(pl.String)
    names = {str(number): name for number, name in enumerate(reasons)}
    plant = in_all("pairs", drop_reason=reason.replace_strict(names, return_dtype=pl.String))
    return Fault(
        "pairs",
        "construction_yield",
        f"{cause}_share",
        plant,
        lambda world: world.tables["pairs"]["pair_id"].to_list(),
        "WARN",
    )


def warning(check: str, rule: str, ids: Callable[[World], list[object]] | None = ALL, **values: pl.Expr) -> Fault:
    return Fault("pairs", check, rule, in_all("pairs", **values), ids, "WARN")


SAME_TASK = words("the same task", 40) + " "

FAULTS = [
    one("chosen_empty", chosen=" \n"),
    one("rejected_empty", rejected=""),
    one("responses_equal", chosen="a  b", rejected=" a b"),
    one("modified_instruction_missing", modified_instruction="  "),
    one("modified_instruction_unchanged", instruction="Sort  THIS", modified_instruction="sort this "),
    one("template_in_chosen", chosen="ok <|im_end|>"),
    one("template_in_rejected", rejected="ok [[response]]"),
    one("template_in_modified_instruction", modified_instruction="{{ instruction }}"),
    Fault("pairs", "pair_validity", "valid_pairs", in_all("pairs", drop_reason=pl.lit("truncated"))),
    Fault(
        "pairs",
        "pair_validity",
        "valid_share",
        in_all("pairs", drop_reason=pl.when(pl.int_range(pl.len()) > 9).then(pl.lit("truncated"))),
        lambda world: world.tables["pairs"]["pair_id"][10:].to_list(),
    ),
    *(dropped(cause) for cause in CAUSES),
    warning(
        "near_duplicates",
        "near_duplicate_share",
        lambda world: ALL(world)[1:],
        instruction=SAME_TASK + pl.int_range(pl.len()).cast(pl.String),
    ),
    warning("modification_similarity", "too_near_share", modified_instruction=pl.col("instruction") + "!"),
    warning("modification_similarity", "too_far_share", modified_instruction=pl.lit("zzzz qqqq 1234567")),
    warning("length_bias", "longer_wins_share", chosen=pl.col("rejected") + " and more"),
    warning("surface_signs", "predictable_from_one_sign", rejected="**\n" + pl.col("rejected")),
    warning(
        "surface_signs",
        "predictable_from_words",
        None,
        rejected=pl.col("rejected").str.replace(" ", " certainly ", literal=True),
    ),
    warning("refusals", "chosen_refusal_share", chosen=pl.lit("I'm sorry, but I can't help with that.")),
    warning("refusals", "rejected_refusal_share", rejected=pl.lit("As an AI language model, I cannot say.")),
    Fault(
        "pairs",
        "strategy_share",
        "strategy_unknown",
        lambda world: world.changed("pairs", lambda pairs: spoil(pairs, ROW, strategy=None)),
        lambda world: [world.tables["pairs"]["pair_id"][ROW]],
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


def test_every_drop_reason_has_a_cause():
    assert sorted(reason for reasons in CAUSES.values() for reason in reasons) == sorted(DROP_REASONS)


def test_the_shorter_response_may_not_win_by_rule_either(world: World):
    spoiled = in_all("pairs", rejected=pl.col("chosen") + " and more")(world)
    result = spoiled.result("pairs", "length_bias")
    assert not result.passed
    assert value(result, "longer_wins_share") == 0.0


def test_a_handful_of_pairs_proves_no_bias(world: World):
    """Three of three longer ones win, as they do with a coin once in eight times."""
    spoiled = in_all("pairs", chosen=pl.col("rejected") + " and more")(world).changed(
        "pairs", lambda frame: frame.head(4)
    )
    result = spoiled.result("pairs", "length_bias")
    assert result.passed
    assert value(result, "longer_wins_share") == 1.0
    assert value(result, "longer_wins_share_low") < 0.65
    assert value(result, "longer_wins_share_n") == 3


def test_strategies_are_counted(world: World):
    assert value(world.result("pairs", "strategy_share"), "strategy/modified_instruction") == 1.0


@pytest.mark.parametrize("check", ["near_duplicates", "modification_similarity", "length_bias", "refusals"])
def test_no_pair_at_all_cannot_be_told(check: str, world: World):
    """`pair_validity` stops the run then; the others have nothing to say."""
    result = in_all("pairs", drop_reason=pl.lit("truncated"))(world).result("pairs", check)
    assert result.passed
    assert "cannot be measured, as there are no" in result.description


def test_the_sign_that_tells_the_winner_is_named_with_its_share(world: World):
    spoiled = in_all("pairs", rejected="**\n" + pl.col("rejected"))(world)
    result = spoiled.result("pairs", "surface_signs")
    assert value(result, "only_rejected/begins with '**'") == 1.0
    assert value(result, "only_chosen/begins with '**'") == 0.0
    records = [record.data for record in result.metadata["offending_rows"].records]
    assert {record["leading_sign"] for record in records} == {"only the rejected response begins with '**'"}


def test_a_word_that_tells_the_winner_is_named(world: World):
    spoiled = in_all("pairs", rejected=pl.col("rejected").str.replace(" ", " certainly "))(world)
    assert value(spoiled.result("pairs", "surface_signs"), "only_rejected/has the word 'certainly'") == 1.0


def test_a_handful_of_pairs_tells_no_sign(world: World):
    few = world.changed("pairs", lambda pairs: pairs.head(9).with_columns(rejected="**" + pl.col("rejected")))
    assert few.result("pairs", "surface_signs").passed
