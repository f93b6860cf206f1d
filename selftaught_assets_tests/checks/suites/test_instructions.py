"""The checks of `instruction_pool` and `instructions`, fault by fault."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from selftaught_assets.checks.suites import suites_of
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.checks.tables import (
    BENCHMARK,
    CATEGORIES,
    LONG_INSTRUCTION,
    first_kept,
    spoil,
)
from selftaught_assets_tests.checks.world import (
    Fault,
    World,
    assert_caught,
    in_all,
    kept_ids,
    offenders,
    value,
)

ASSETS = ("instruction_pool", "instructions")


def one(asset: str, **values: str) -> tuple[Callable[[World], World], Callable[[World], list[object]]]:
    """Other values in the first kept row, and its id."""

    def plant(world: World) -> World:
        return world.changed(asset, lambda frame: spoil(frame, first_kept(frame), **values))

    return plant, lambda world: [world.tables[asset]["instruction_id"][first_kept(world.tables[asset])]]


def repeated(asset: str) -> Fault:
    """The second kept instruction becomes the first in other case and spacing."""

    def second(frame: pl.DataFrame) -> int:
        return frame["drop_reason"].is_null().arg_true()[1]

    def plant(world: World) -> World:
        return world.changed(
            asset,
            lambda frame: spoil(
                frame, second(frame), instruction=f"  {frame['instruction'][first_kept(frame)].upper()}\n"
            ),
        )

    def ids(world: World) -> list[object]:
        return [world.tables[asset]["instruction_id"][second(world.tables[asset])]]

    return Fault(asset, "usable_text", "repeated", plant, ids)


def faults_of(asset: str) -> list[Fault]:
    all_kept = kept_ids(asset, "instruction_id")
    text = pl.col("instruction")
    long = ("usable_text", "too_long")
    severity = "ERROR"
    if asset == "instruction_pool":
        long, severity = ("usable_text_warnings", "too_long_share"), "WARN"
    half_copied = " ".join(LONG_INSTRUCTION.split()[:22])
    shared = "And then: " + " ".join(LONG_INSTRUCTION.split()[6:19])
    return [
        Fault(asset, "usable_text", "empty", *one(asset, instruction=" \n")),
        repeated(asset),
        Fault(asset, *long, in_all(asset, instruction=text + "x" * 8000), all_kept, severity),
        Fault(
            asset,
            "usable_text_warnings",
            "too_short_share",
            in_all(asset, instruction=pl.int_range(pl.len()).cast(pl.String)),
            all_kept,
            "WARN",
        ),
        Fault(
            asset,
            "usable_text_warnings",
            "unprintable_share",
            in_all(asset, instruction=text + "\u202e\ufffd"),
            all_kept,
            "WARN",
        ),
        Fault(
            asset, "category_share", "largest_category_share", in_all(asset, category=pl.lit("list")), all_kept, "WARN"
        ),
        Fault(
            asset,
            "category_share",
            "uncategorized_share",
            in_all(asset, category=pl.when(pl.col("line") < 60).then(pl.lit(None)).otherwise("category")),
            lambda world: (
                world.tables[asset]
                .filter(pl.col("drop_reason").is_null() & pl.col("category").is_null())["instruction_id"]
                .to_list()
            ),
            "WARN",
        ),
        Fault(asset, "no_benchmark_overlap", "in_benchmark", *one(asset, instruction="  NAME ")),
        Fault(asset, "no_benchmark_overlap", "copied_from_benchmark", *one(asset, instruction=half_copied)),
        Fault(
            asset,
            "no_benchmark_overlap_warnings",
            "shares_run_with_benchmark",
            *one(asset, instruction=shared),
            severity="WARN",
        ),
    ]


def not_materialized(asset: str) -> Fault:
    """The recipe has a benchmark that the table `benchmarks` knows nothing of."""

    def plant(world: World) -> World:
        (known,) = world.recipe.benchmarks
        away = known.model_copy(update={"name": "away", "path": None, "hub": "nobody/nothing"})
        return replace(world, recipe=world.recipe.model_copy(update={"benchmarks": (known, away)}))

    return Fault(asset, "no_benchmark_overlap_warnings", "benchmarks_not_compared", plant, severity="WARN")


FAULTS = [
    *(fault for asset in ASSETS for fault in [*faults_of(asset), not_materialized(asset)]),
    Fault(
        "instruction_pool",
        "few_repetitions",
        "repeated_share",
        in_all("instruction_pool", drop_reason=pl.when(pl.col("line") > 30).then(pl.lit("duplicate"))),
        lambda world: world.tables["instruction_pool"].filter(pl.col("line") > 30)["line"].to_list(),
        "WARN",
    ),
    Fault(
        "instructions",
        "count_reached",
        "selected",
        lambda world: world.changed(
            "instructions", lambda frame: spoil(frame, first_kept(frame), drop_reason="not_selected")
        ),
        severity="WARN",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World):
    assert_caught(fault, fault.plant(world))


@pytest.mark.parametrize("asset", ASSETS)
def test_a_leaked_instruction_is_named_with_the_item_it_is_from(asset: str, world: World):
    """Whatever the punctuation: the copy is found by its runs of words."""
    leaked = LONG_INSTRUCTION.replace(" ", ", ").lower() + "!"
    plant, _ = one(asset, instruction=leaked)
    result = plant(world).result(asset, "no_benchmark_overlap")
    assert offenders(result, "copied_from_benchmark", "shares_with") == ["labelled/b1"]
    assert offenders(result, "copied_from_benchmark", "shared") == ["1.0"]
    exact, _ = one(asset, instruction=BENCHMARK[1]["instruction"])
    assert offenders(exact(world).result(asset, "no_benchmark_overlap"), "in_benchmark", "equal_to") == ["labelled/b2"]


@pytest.mark.parametrize("asset", ASSETS)
def test_benchmarks_are_not_read_again_from_where_they_came(asset: str, world: World):
    """Their files may be gone, and the hub out of reach."""
    away = [known.model_copy(update={"path": None, "hub": "nobody/nothing"}) for known in world.recipe.benchmarks]
    moved = replace(world, recipe=world.recipe.model_copy(update={"benchmarks": tuple(away)}))
    for check in ("no_benchmark_overlap", "no_benchmark_overlap_warnings"):
        assert moved.result(asset, check).passed
    assert moved.result("benchmarks", "rows_accounted").passed


def test_a_dropped_instruction_may_come_from_a_benchmark(world: World):
    """The last but one of the pool is dropped as empty."""
    row = world.tables["instruction_pool"]["drop_reason"].eq("empty").arg_max()
    spoiled = world.changed("instruction_pool", lambda frame: spoil(frame, row, instruction="Name"))
    assert spoiled.result("instruction_pool", "no_benchmark_overlap").passed


def test_shares_of_categories_are_in_the_metadata(world: World):
    result = world.result("instruction_pool", "category_share")
    shares = [value(result, f"category/{name}") for name in CATEGORIES]
    assert sum(shares) == pytest.approx(1)
    assert all(share > 0.3 for share in shares)


SHARES = [(asset, "category_share") for asset in ASSETS]


def has(recipe: Recipe, asset: str, name: str) -> bool:
    return any((suite.asset, suite.name) == (asset, name) for suite in suites_of(recipe))


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, SHARES),
        ({"instructions": {"count": 30, "categories": ["sort"]}}, SHARES[:1]),
        ({"pool": {"path": "pool.jsonl"}}, []),
    ],
    ids=["all", "one_category_wanted", "no_categories"],
)
def test_categories_are_checked_where_there_may_be_several(
    sections: dict[str, object], expected: list[tuple[str, str]], recipe: Recipe
):
    changed = recipe.model_validate(recipe.model_dump() | sections)
    assert [share for share in SHARES if has(changed, *share)] == expected
