"""Applies a suite to the rows of a table, with Great Expectations.

Belongs here: the only use of Great Expectations, and what it found, in plain values. Not here: what is demanded
(suites.py) and how it is reported (results.py).
"""

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from selftaught_assets.checks.rules import Limit, RowRule, Rule, Suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.datasource.fluent.pandas_datasource import DataFrameAsset

EXAMPLES = 10
"""Rows at fault that a finding brings along."""


class Finding(NamedTuple):
    """What became of one rule."""

    rule: Rule
    passed: bool
    observed: int | float | None
    """Rows at fault, or the number that is limited; None if there is no row to take it from."""
    rows: int
    """Rows that were looked at."""
    examples: pl.DataFrame
    """The first rows at fault, in the order of the table."""


def validate(suite: Suite, rows: pl.DataFrame) -> list[Finding]:
    """One finding for each rule, in their order.

    Args:
        suite: what is demanded.
        rows: as `suite.rows` makes them.

    Raises:
        RuntimeError: Great Expectations could not apply a rule.
    """
    frames = _frames_of_great_expectations()
    found: dict[str, Finding] = {}
    for where in dict.fromkeys(rule.where for rule in suite.rules):
        rules = [rule for rule in suite.rules if rule.where == where]
        seen = rows if where is None else rows.filter(pl.col(where))
        found |= {finding.rule.name: finding for finding in _findings(frames, rules, seen)}
    return [found[rule.name] for rule in suite.rules]


def _frames_of_great_expectations() -> "DataFrameAsset":
    """A data asset of a context that lives in memory, sends nothing and draws no progress bars."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context.data_sources.add_pandas("tables").add_dataframe_asset("rows")


def _findings(frames: "DataFrameAsset", rules: list[Rule], rows: pl.DataFrame) -> Iterator[Finding]:
    by_name = {rule.name: rule for rule in rules}
    for result in _results(frames, rules, rows):
        rule = by_name[result.expectation_config.meta["rule"]]
        if result.exception_info.get("raised_exception", True):
            raise RuntimeError(f"Great Expectations could not apply the rule {rule.name}: {result.exception_info}")
        if isinstance(rule, RowRule):
            at_fault = rows[result.result["partial_unexpected_index_list"]]
            yield Finding(rule, bool(result.success), int(result.result["unexpected_count"]), rows.height, at_fault)
        else:
            observed = _plain(result.result["observed_value"])
            yield Finding(rule, bool(result.success), observed, rows.height, _beyond(rule, observed, rows))


def _results(frames: "DataFrameAsset", rules: list[Rule], rows: pl.DataFrame) -> list["ExpectationValidationResult"]:
    """The results of all rules, in an order of Great Expectations' own. It is given only the columns they name."""
    import great_expectations as gx
    import pandas as pd

    expectations = [
        {
            "type": rule.expectation,
            "kwargs": dict(rule.arguments),
            "severity": rule.severity,
            "meta": {"rule": rule.name},
        }
        for rule in rules
    ]
    columns = dict.fromkeys(rule.arguments["column"] for rule in rules if "column" in rule.arguments)
    frame = pd.DataFrame(rows.select(*columns).to_dict(as_series=False), index=range(rows.height))
    whole = frames.add_batch_definition_whole_dataframe(f"batch {len(frames.batch_definitions)}")
    suite = gx.ExpectationSuite("rules", expectations=expectations)
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    return whole.get_batch({"dataframe": frame}).validate(suite, result_format=result_format).results


def _plain(observed: object) -> int | float | None:
    """A Python number in place of NumPy's; None in place of nan, the mean of nothing."""
    if observed is None or math.isnan(observed):
        return None
    return observed if isinstance(observed, int) else float(observed)


def _beyond(rule: Limit, observed: int | float | None, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that pull a mean below or above its bounds."""
    if rule.column is None or observed is None:
        return rows.clear()
    if rule.low is not None and observed < rule.low:
        return rows.filter(~pl.col(rule.column)).head(EXAMPLES)
    if rule.high is not None and observed > rule.high:
        return rows.filter(pl.col(rule.column)).head(EXAMPLES)
    return rows.clear()
