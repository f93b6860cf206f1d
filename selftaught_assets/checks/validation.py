"""Applies a suite to the rows of a table, with Great Expectations.

Belongs here: the only use of Great Expectations, and what it found, in plain values. Not here: what is demanded
(suites/) and how it is reported (results.py).
"""

import math
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from selftaught_assets.checks.rules import MEAN, Estimate, Estimated, Limit, RowRule, Rule, Suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.core.batch_definition import BatchDefinition

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
    estimate: Estimate | None = None
    """The observed number with its interval, where it has one."""


def validate(suite: Suite, rows: pl.DataFrame) -> list[Finding]:
    """One finding for each rule, in their order.

    Args:
        suite: what is demanded.
        rows: as `suite.rows` makes them.

    Raises:
        RuntimeError: Great Expectations could not apply a rule.
    """
    found: dict[str, Finding] = {}
    seen = {
        where: rows if where is None else rows.filter(pl.col(where))
        for where in dict.fromkeys(rule.where for rule in suite.rules)
    }
    for where, some in seen.items():
        rules = [rule for rule in suite.rules if rule.where == where and not isinstance(rule, Estimated)]
        found |= {finding.rule.name: finding for finding in _findings(rules, some)}
    estimated = [rule for rule in suite.rules if isinstance(rule, Estimated)]
    found |= {finding.rule.name: finding for finding in _estimated_findings(estimated, seen)}
    return [found[rule.name] for rule in suite.rules]


@cache
def _whole_frames() -> "BatchDefinition":
    """A batch definition in a context that lives in memory, sends nothing and draws no progress bars.

    Made once for each process: it takes nearly as long as a validation.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return (
        context.data_sources.add_pandas("tables")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("whole")
    )


def _findings(rules: list[RowRule | Limit], rows: pl.DataFrame) -> Iterator[Finding]:
    if not rules:
        return
    by_name = {rule.name: rule for rule in rules}
    expectations = [_expectation(rule, rule.expectation, rule.arguments) for rule in rules]
    columns = dict.fromkeys(rule.arguments["column"] for rule in rules if "column" in rule.arguments)
    named = rows.select(*columns).with_columns(pl.col(pl.Boolean).fill_null(False))  # Nulls would be passed over.
    for result in _results(expectations, named, rows.height):
        rule = by_name[result.expectation_config.meta["rule"]]
        if isinstance(rule, RowRule):
            at_fault = rows[result.result["partial_unexpected_index_list"]]
            yield Finding(rule, bool(result.success), int(result.result["unexpected_count"]), rows.height, at_fault)
        else:
            observed = _plain(result.result["observed_value"])
            yield Finding(
                rule, bool(result.success), observed, rows.height, _pulling(rule.column, rule, observed, rows)
            )


def _estimated_findings(rules: list[Estimated], seen: Mapping[str | None, pl.DataFrame]) -> Iterator[Finding]:
    """Great Expectations is asked about the end of each interval that speaks for the rule, all rules as one row."""
    estimates = {rule.name: rule.estimate(seen[rule.where]) for rule in rules}
    told = [rule for rule in rules if estimates[rule.name] is not None]
    passed = {rule.name: True for rule in rules}
    if told:
        ends = pl.DataFrame({rule.name: [_best_case(rule, estimates[rule.name])] for rule in told})
        expectations = [
            _expectation(rule, MEAN, {"column": rule.name, "min_value": rule.low, "max_value": rule.high})
            for rule in told
        ]
        results = _results(expectations, ends, 1)
        passed |= {result.expectation_config.meta["rule"]: bool(result.success) for result in results}
    for rule in rules:
        estimate, rows = estimates[rule.name], seen[rule.where]
        observed = None if estimate is None else float(estimate.value)
        examples = rows.clear() if passed[rule.name] else _pulling(rule.culprits, rule, observed, rows)
        yield Finding(rule, passed[rule.name], observed, rows.height, examples, estimate)


def _best_case(rule: Estimated, estimate: Estimate) -> float:
    """The point of the interval that is nearest to the bounds."""
    low = -math.inf if rule.low is None else rule.low
    high = math.inf if rule.high is None else rule.high
    wanted = min(max(estimate.value, low), high)
    return float(min(max(wanted, estimate.low), estimate.high))


def _expectation(rule: Rule, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "kwargs": dict(arguments), "severity": rule.severity, "meta": {"rule": rule.name}}


def _results(
    expectations: list[dict[str, Any]], rows: pl.DataFrame, height: int
) -> list["ExpectationValidationResult"]:
    """The results of all expectations, in an order of Great Expectations' own.

    Args:
        expectations: about them.
        rows: only the columns that the expectations name, which can be none.
        height: how many rows there are.

    Raises:
        RuntimeError: an expectation could not be applied.
    """
    import great_expectations as gx
    import pandas as pd

    frame = pd.DataFrame(rows.to_dict(as_series=False), index=range(height))
    suite = gx.ExpectationSuite("rules", expectations=expectations)
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    results = _whole_frames().get_batch({"dataframe": frame}).validate(suite, result_format=result_format).results
    for result in results:
        if result.exception_info.get("raised_exception", True):
            name = result.expectation_config.meta["rule"]
            raise RuntimeError(f"Great Expectations could not apply the rule {name}: {result.exception_info}")
    return results


def _plain(observed: object) -> int | float | None:
    """A Python number in place of NumPy's; None in place of nan, the mean of nothing."""
    if observed is None or math.isnan(observed):
        return None
    return observed if isinstance(observed, int) else float(observed)


def _pulling(
    column: str | None, rule: Limit | Estimated, observed: int | float | None, rows: pl.DataFrame
) -> pl.DataFrame:
    """Rows that pull a number below or above its bounds: those where the boolean column is false, or true."""
    if column is None or observed is None:
        return rows.clear()
    if rule.low is not None and observed < rule.low:
        return rows.filter(~pl.col(column)).head(EXAMPLES)
    if rule.high is not None and observed > rule.high:
        return rows.filter(column).head(EXAMPLES)
    return rows.clear()
