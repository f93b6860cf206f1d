"""The checks of `filtered_set`, fault by fault; those of the single form are in test_single.py."""

import random
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from selftaught_assets_tests.checks.tables import spoil, words
from selftaught_assets_tests.checks.world import Fault, World, assert_caught, in_all, kept_ids, value

ALL = kept_ids("filtered_set", "example_id")
is_a = pl.col("label") == "A"


def kept_rows(world: World, where: pl.Expr) -> list[object]:
    table = world.tables["filtered_set"].filter(pl.col("drop_reason").is_null() & where)
    return table["example_id"].to_list()


def first_kept_row(frame: pl.DataFrame) -> int:
    return frame["drop_reason"].is_null().arg_max()


def unlabelled(world: World) -> World:
    return world.changed("filtered_set", lambda frame: spoil(frame, first_kept_row(frame), label=None))


def drawn_twice(world: World) -> World:
    """The first kept example once more, as another row of the table."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        again = frame[[first_kept_row(frame)]].with_columns(example_id=pl.lit("again"))
        return pl.concat([frame, again])

    return world.changed("filtered_set", change)


def wrong_judgment(world: World) -> World:
    judgment = world.tables["filtered_set"]["judgment_id"][first_kept_row(world.tables["filtered_set"])]
    is_it = pl.col("judgment_id") == judgment
    return in_all("judgments", is_correct=pl.col("is_correct") & ~is_it)(world)


def on_both_sides(world: World) -> World:
    """A second example of the first kept one's pair, in the other split."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        other = pl.when(pl.col("split") == "train").then(pl.lit("validation")).otherwise(pl.lit("train"))
        again = frame[[first_kept_row(frame)]].with_columns(example_id=pl.lit("again"), split=other)
        return pl.concat([frame, again])

    return world.changed("filtered_set", change)


def instruction_on_both_sides(world: World) -> World:
    """The same of another pair with the same instruction."""
    spoiled = on_both_sides(world)
    again = pl.col("example_id") == "again"
    other = pl.when(again).then(pl.lit("another")).otherwise("pair_id")
    return spoiled.changed("filtered_set", lambda frame: frame.with_columns(pair_id=other))


def first_and_again(world: World) -> list[object]:
    first = world.tables["filtered_set"]["example_id"][first_kept_row(world.tables["filtered_set"])]
    return [first, "again"]


def reworded(examples: pl.DataFrame) -> pl.DataFrame:
    texts = pl.Series([words(id, 12) for id in examples["example_id"]])
    return examples.with_columns(
        example_id=pl.col("example_id").str.slice(2),
        completion=pl.when(pl.col("completion").is_not_null()).then(texts),
    )


def of_other_lengths(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.with_columns(
        pl.Series(name, ["x" * random.Random(f"{name} {id}").randrange(40, 80) for id in pairs["pair_id"]])
        for name in ("chosen", "rejected")
    )


def many(world: World, copies: int = 20) -> World:
    """So many times the examples, each of a pair and of a wording of its own, so that statistics can tell something."""

    def copy(name: str, *ids: str) -> pl.DataFrame:
        frame = world.tables[name]
        again = [frame.with_columns(pl.col(id) + f"{n:02x}" for id in ids) for n in range(copies)]
        return pl.concat(again)

    tables = {
        "filtered_set": reworded(copy("filtered_set", "example_id", "judgment_id", "pair_id")),
        "judgments": copy("judgments", "judgment_id", "pair_id"),
        "pairs": of_other_lengths(copy("pairs", "pair_id")),
    }
    return replace(world, tables=world.tables | tables)


def longer_responses_win(world: World) -> World:
    chosen = pl.lit("long " * 60)
    return in_all("pairs", chosen=chosen)(many(world))


def verdict_first(world: World) -> World:
    opening = pl.format("{} is better, because {}", "label", "completion")
    return in_all("filtered_set", completion=opening)(many(world))


def fault(check: str, rule: str, plant: Callable[[World], World], ids=None, severity: str = "ERROR") -> Fault:
    return Fault("filtered_set", check, rule, plant, ids, severity)


FAULTS = [
    fault("label_balance", "label_unknown", unlabelled, lambda world: first_and_again(world)[:1]),
    fault("label_balance", "examples", in_all("filtered_set", drop_reason=pl.lit("wrong_verdict"))),
    fault(
        "label_balance",
        "label_a_share",
        in_all("filtered_set", drop_reason=pl.when(~is_a).then(pl.lit("balance")).otherwise("drop_reason")),
        lambda world: kept_rows(world, is_a),
    ),
    fault("one_example_per_pair", "pair_repeated", drawn_twice, first_and_again),
    fault("one_example_per_pair", "judgment_wrong", wrong_judgment, lambda world: first_and_again(world)[:1]),
    fault("splits_apart", "pair_in_both", on_both_sides, first_and_again),
    fault("splits_apart", "instruction_in_both", instruction_on_both_sides, first_and_again),
    fault("smallest_size", "training_examples", in_all("filtered_set", split=pl.lit("validation")), None, "WARN"),
    fault(
        "length_by_label",
        "longer_first_label",
        in_all("filtered_set", completion=pl.when(is_a).then(pl.col("completion") + "!" * 200).otherwise("completion")),
        None,
        "WARN",
    ),
    fault("diversity", "distinct_2", in_all("filtered_set", completion=pl.lit("A is better. " * 20)), None, "WARN"),
    fault(
        "diversity",
        "repeated_share",
        in_all("filtered_set", completion=pl.lit(words("one reason", 40)) + " " + pl.col("label")),
        lambda world: ALL(world)[1:],
        "WARN",
    ),
    fault("label_not_leaked", "predictable_from_lengths", longer_responses_win, None, "WARN"),
    fault("label_not_leaked", "predictable_from_opening", verdict_first, None, "WARN"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


def test_each_probe_is_blind_to_the_others_fault(world: World):
    by_lengths = longer_responses_win(world).result("filtered_set", "label_not_leaked")
    by_opening = verdict_first(world).result("filtered_set", "label_not_leaked")
    assert value(by_lengths, "predictable_from_lengths") > 0.95
    assert value(by_opening, "predictable_from_opening") > 0.95
    assert value(by_lengths, "predictable_from_opening") < 0.7
    assert value(by_opening, "predictable_from_lengths") < 0.7


def test_a_few_examples_tell_a_probe_nothing(world: World):
    result = world.changed("filtered_set", lambda frame: frame.head(8)).result("filtered_set", "label_not_leaked")
    assert result.passed
    assert "cannot be measured from" in result.description


def test_mean_lengths_are_in_the_metadata(world: World):
    result = world.result("filtered_set", "length_by_label")
    kept = world.tables["filtered_set"].filter(pl.col("drop_reason").is_null())
    for label in ("A", "B"):
        mean = kept.filter(pl.col("label") == label)["completion"].str.len_chars().mean()
        assert value(result, f"mean_characters/{label}") == pytest.approx(mean)


def labels(a: int, b: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A filtered set of kept examples only, with so many of each label."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        template = frame.filter(pl.col("drop_reason").is_null())[[0] * (a + b)]
        names = pl.int_range(pl.len()).cast(pl.String)
        return template.with_columns(label=pl.Series(["A"] * a + ["B"] * b, dtype=pl.String), example_id=names)

    return change


@pytest.mark.parametrize(("a", "b", "passes"), [(60, 40, False), (40, 60, False), (53, 47, False), (52, 48, True)])
def test_labels_are_balanced_within_the_tolerance(a: int, b: int, passes: bool, world: World):
    result = world.changed("filtered_set", labels(a, b)).result("filtered_set", "label_balance")
    assert result.passed == passes
    assert value(result, "label_a_share") == pytest.approx(a / 100)
    assert f"The share of label A among 100 kept examples is {a / 100:g}".lower() in result.description.lower()


def test_no_example_at_all_fails_in_one_sentence(world: World):
    spoiled = in_all("filtered_set", drop_reason=pl.lit("wrong_verdict"))(world)
    result = spoiled.result("filtered_set", "label_balance")
    assert result.description == (
        "The number of examples to train on is 0 (at least 1 is required); the share of label A cannot be measured, as "
        "there are no kept examples."
    )
    assert "label_a_share" not in result.metadata
