"""The scores that each published benchmark defines for itself, beside the accuracy that holds for all."""

import math
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from selftaught_assets.method import agreement, judge_bench, llmbar, reward_bench, reward_bench_2, rm_bench
from selftaught_assets.method.benchmarks.formats import FormatName
from selftaught_assets.method.scoring.statistics import (
    Interval,
    Statistic,
    Tally,
    Totals,
    bootstrap_intervals,
    values,
)

_TALLIES: dict[FormatName, Callable[[pl.DataFrame], Tally]] = {
    "rewardbench": reward_bench.tally,
    "rewardbench2": reward_bench_2.tally,
    "rm_bench": rm_bench.tally,
    "mt_bench": agreement.tally,
    "helpsteer2": agreement.tally,
    "pandalm": agreement.tally_of_classes,
    "judgebench": judge_bench.tally,
    "llmbar": llmbar.tally,
}
"""One's own data has no score of its own."""

_AFTER = " after"


class Estimate(NamedTuple):
    """A figure and its 95 % bootstrap interval over instructions."""

    value: float
    interval: Interval


def published_scores(form: FormatName, verdicts: pl.DataFrame) -> dict[str, Estimate]:
    """The benchmark's own scores, by name; those whose items are not all there are left out.

    Args:
        form: of the benchmark.
        verdicts: as in `scores`, with subset, group_id and variant; one decoding, every pair in both orders.
    """
    return _estimates(_TALLIES[form](verdicts)) if form in _TALLIES else {}


def published_differences(form: FormatName, before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Estimate]:
    """After minus before of the benchmark's own scores; both judges' verdicts on an instruction are drawn together."""
    if form not in _TALLIES:
        return {}
    one, other = _TALLIES[form](before), _TALLIES[form](after)
    renamed = other.counts.rename({name: name + _AFTER for name in other.counts.columns if name != "instruction_id"})
    both = one.counts.join(renamed, on="instruction_id", validate="1:1")
    return _estimates(Tally(both, {name: _difference(figure) for name, figure in one.figures.items()}))


def _difference(figure: Statistic) -> Statistic:
    def after_minus_before(totals: Totals) -> Totals:
        after = {name.removesuffix(_AFTER): total for name, total in totals.items() if name.endswith(_AFTER)}
        return figure(after) - figure(totals)

    return after_minus_before


def _estimates(tally: Tally) -> dict[str, Estimate]:
    intervals = bootstrap_intervals(tally)
    return {name: Estimate(value, intervals[name]) for name, value in values(tally).items() if not math.isnan(value)}
