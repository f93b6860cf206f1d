"""Held-out synthetic pairs are those of the validation split, and their gap has an honest interval."""

import polars as pl
import pytest

from selftaught_assets.method.identity import row_id
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.scoring.accuracy import score
from selftaught_assets.method.scoring.held_out import HELD_OUT, held_out_items, overfit_gap, without_held_out
from selftaught_assets.method.training_set import VALIDATION, assign_split

COUNT = 200
PAIRS = pl.DataFrame(
    {
        "pair_id": [row_id("pair", n) for n in range(COUNT)],
        "instruction_id": [row_id("instruction", n) for n in range(COUNT)],
        "instruction": ["x"] * COUNT,
        "chosen": [f"good {n}" for n in range(COUNT)],
        "rejected": [f"bad {n}" for n in range(COUNT)],
        "strategy": ["modified_instruction"] * COUNT,
        "drop_reason": ["truncated" if n % 5 == 0 else None for n in range(COUNT)],
    }
)


def items() -> pl.DataFrame:
    return held_out_items(PAIRS, validation_share=0.3, seed=4)


def test_they_are_the_kept_pairs_of_the_filtered_sets_validation_split():
    split = assign_split(PAIRS, validation_share=0.3, seed=4)
    expected = split.filter((pl.col("split") == VALIDATION) & pl.col("drop_reason").is_null())["pair_id"]
    assert 0 < items().height < COUNT
    assert items()["item_id"].to_list() == expected.to_list()


def test_none_are_held_out_where_the_share_is_zero():
    assert held_out_items(PAIRS, validation_share=0.0, seed=4).is_empty()


def test_both_orders_are_asked_so_the_winner_stands_in_both_places():
    asked = benchmark_requests(items())
    chosen = pl.when(pl.col("label") == "A").then("response_a").otherwise("response_b")
    assert asked.select(chosen.str.starts_with("good").all()).item()
    assert asked["label"].value_counts()["count"].to_list() == [items().height] * 2


def verdicts(benchmark: str, right: int, of: int) -> pl.DataFrame:
    """So many of so many items judged right in both orders."""
    rows = [
        (benchmark, f"{benchmark}{n}", f"{benchmark}{n}", order, label, label if n < right else None)
        for n in range(of)
        for order, label in (("AB", "A"), ("BA", "B"))
    ]
    return pl.DataFrame(
        rows, schema=["benchmark", "item_id", "instruction_id", "order", "label", "verdict"], orient="row"
    )


@pytest.mark.parametrize("of", [20, 400])
def test_the_gap_has_an_interval_that_narrows_with_the_items(of: int):
    gap = overfit_gap(score(verdicts(HELD_OUT, of, of)), score(verdicts("bench", of // 2, of)))
    assert gap.value == 0.5
    assert gap.interval.low < 0.5 < gap.interval.high
    assert (gap.interval.high - gap.interval.low > 0.2) == (of == 20)


def test_a_gap_of_judges_that_are_always_right_is_not_a_point():
    gap = overfit_gap(score(verdicts(HELD_OUT, 5, 5)), score(verdicts("bench", 5, 5)))
    assert gap.value == 0.0
    assert gap.interval.low < -0.1 < 0.1 < gap.interval.high


def test_verdicts_on_benchmarks_are_what_remains():
    both = pl.concat([verdicts("bench", 1, 2), verdicts(HELD_OUT, 1, 2)])
    assert without_held_out(both).equals(verdicts("bench", 1, 2))
