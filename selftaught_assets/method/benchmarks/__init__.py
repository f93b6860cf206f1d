"""The benchmarks on which judges are measured: your own pairs, and published ones, read and scored as they define.

A module of this package says of its benchmark how records become items and how its own scores are counted; `FORMATS`
lists them all. A new benchmark is such a module, and its `Format` in this list.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import polars as pl

from selftaught_assets.method.benchmarks import (
    human_votes,
    judge_bench,
    llmbar,
    own,
    reward_bench,
    reward_bench_2,
    rm_bench,
)
from selftaught_assets.method.benchmarks.items import Format, Record, Ties, item_rows
from selftaught_assets.method.scoring.statistics import Interval, Statistic, Tally, Totals, bootstrap_intervals, values

FORMATS: Mapping[str, Format] = {
    known.name: known
    for known in (
        *(own.PAIRS, own.CHOSEN_REJECTED, reward_bench.FORMAT, reward_bench_2.FORMAT, rm_bench.FORMAT),
        *(human_votes.MT_BENCH, human_votes.HELPSTEER2, judge_bench.FORMAT, llmbar.FORMAT, human_votes.PANDALM),
    )
}
"""By the name that a recipe gives."""

_AFTER = " after"


class Estimate(NamedTuple):
    """A figure and its 95 % bootstrap interval over instructions."""

    value: float
    interval: Interval


class Change(NamedTuple):
    """A figure of two judges; their difference has a 95 % bootstrap interval over instructions."""

    before: float
    after: float
    difference: float
    interval: Interval


def benchmark_rows(
    name: str, records: Iterable[Record], form: str = "pairs", *, ties: Ties = "drop", sample: int | None = None
) -> pl.DataFrame:
    """The table of one benchmark, as `items.item_rows` makes it.

    Args:
        name: of the benchmark.
        records: each with the fields of its format.
        form: of the records.
        ties: what becomes of a tie.
        sample: how many of its usable pairs to keep; None keeps all.
    """
    return item_rows(name, FORMATS[form].items(records), ties=ties, sample=sample)


def items_read(name: str, records: Iterable[Record], form: str = "pairs") -> pl.DataFrame:
    """benchmark and item_id of every item of a benchmark as it was read: what its table has to account for."""
    ids = pl.Series("item_id", [item.item_id for item in FORMATS[form].items(records)], pl.String)
    return ids.to_frame().select(pl.lit(name).alias("benchmark"), "item_id")


def published_scores(form: str, verdicts: pl.DataFrame) -> dict[str, Estimate]:
    """The benchmark's own scores, by name; those whose items are not all there are left out.

    Args:
        form: of the benchmark.
        verdicts: as in `scoring.accuracy`, with subset, group_id and variant; one decoding, every pair in both orders.
    """
    tally_of = FORMATS[form].tally
    return {} if tally_of is None else _estimates(tally_of(verdicts))


def published_changes(form: str, before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Change]:
    """The benchmark's own scores of two judges; both judges' verdicts on an instruction are drawn together.

    Args:
        form: of the benchmark.
        before: verdicts of the one judge, as in `published_scores`.
        after: those of the other on the same pairs.
    """
    tally_of = FORMATS[form].tally
    if tally_of is None:
        return {}
    one, other = tally_of(before), tally_of(after)
    renamed = other.counts.rename({name: name + _AFTER for name in other.counts.columns if name != "instruction_id"})
    both = one.counts.join(renamed, on="instruction_id", validate="1:1")
    differences = _estimates(Tally(both, {name: _difference(figure) for name, figure in one.figures.items()}))
    of_one, of_other = values(one), values(other)
    return {name: Change(of_one[name], of_other[name], *difference) for name, difference in differences.items()}


def _difference(figure: Statistic) -> Statistic:
    def after_minus_before(totals: Totals) -> Totals:
        after = {name.removesuffix(_AFTER): total for name, total in totals.items() if name.endswith(_AFTER)}
        return figure(after) - figure(totals)

    return after_minus_before


def _estimates(tally: Tally) -> dict[str, Estimate]:
    intervals = bootstrap_intervals(tally)
    return {name: Estimate(value, intervals[name]) for name, value in values(tally).items() if not math.isnan(value)}
