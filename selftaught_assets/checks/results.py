"""A suite applied to its rows with Great Expectations, and what the check then says.

A check says one sentence, the numbers behind it, and the rows at fault.
"""

import math
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
import polars as pl

from selftaught_assets.checks.rules import (
    Count,
    Estimate,
    Estimated,
    Expectation,
    Given,
    Measured,
    RowRule,
    Rule,
    Share,
    Suite,
)
from selftaught_assets.errors import UserError, as_clause, reason_of

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.expectations.expectation import Expectation as GxExpectation


EXAMPLES = 10
"""Rows at fault that a finding brings along."""


class Finding(NamedTuple):
    """What became of one rule."""

    rule: Rule
    passed: bool
    observed: Any
    """Rows at fault, or the number that is limited; None if there is no row to take it from."""
    rows: int
    """Rows that were looked at."""
    examples: pl.DataFrame
    """The first rows at fault, in the order of the table."""
    estimate: Estimate | None = None
    """The observed number with its interval, where it has one."""
    problem: str | None = None
    """Why an expectation of a user's suite could not be applied."""


class Validation(NamedTuple):
    """What Great Expectations found of a suite."""

    findings: list[Finding]
    """One for each rule, in their order."""
    results: "list[ExpectationValidationResult]"
    """One for each expectation that could be applied."""


def validate(suite: Suite, rows: pl.DataFrame) -> Validation:
    """Applies a suite.

    Args:
        suite: what is demanded.
        rows: as `suite.rows` makes them.

    Raises:
        RuntimeError: Great Expectations could not apply a rule of ours.
    """
    seen = {
        where: rows if where is None else rows.filter(where.holds)
        for where in dict.fromkeys(rule.where for rule in suite.rules)
    }
    estimates = {rule.name: rule.estimate(seen[rule.where]) for rule in suite.rules if isinstance(rule, Estimated)}
    results = _results_of_estimates(suite, estimates)
    for where, some in seen.items():
        rules = [rule for rule in suite.rules if rule.where == where and not isinstance(rule, Estimated)]
        results |= _results(suite, rules, some)
    findings = [_finding(rule, results[rule.name], seen[rule.where], estimates) for rule in suite.rules]
    found = [result for results_of_rule in results.values() for result in results_of_rule]
    return Validation(findings, [result for result in found if not isinstance(result, str)])


def great_expectations() -> ModuleType:
    """Great Expectations, which sends nothing and knows the expectations of ours. The first import takes seconds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    import selftaught_assets.checks.expectations  # noqa: F401

    return gx


@cache
def _whole_frames() -> "BatchDefinition":
    """A batch definition in a context that lives in memory and draws no progress bars.

    Made once for each process: it takes nearly as long as a validation.
    """
    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return (
        context.data_sources.add_pandas("tables")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("whole")
    )


_Results = dict[str, "list[ExpectationValidationResult | str]"]
"""By rule: a result for each of its expectations, or why there is none."""


def _results(suite: Suite, rules: list[Rule], rows: pl.DataFrame) -> _Results:
    asked = {rule.name: rule.expectations if isinstance(rule, RowRule) else (rule.expectation,) for rule in rules}
    columns = dict.fromkeys(column for expectations in asked.values() for one in expectations for column in one.columns)
    whole = any(isinstance(rule, Given) for rule in rules)  # Which may look at any column, and at the table as such.
    return _applied(suite, asked, rows if whole else rows.select(*columns), rows.height)


def _results_of_estimates(suite: Suite, estimates: Mapping[str, Estimate | None]) -> _Results:
    """Great Expectations is asked about a table that has a row for each estimate that could be told."""
    if not estimates:
        return {}
    told = [(name, *(float(part) for part in estimate)) for name, estimate in estimates.items() if estimate is not None]
    schema = {"estimate": pl.String, **dict.fromkeys(Estimate._fields, pl.Float64)}
    asked = {rule.name: (rule.expectation,) for rule in suite.rules if isinstance(rule, Estimated)}
    return _applied(suite, asked, pl.DataFrame(told, schema=schema, orient="row"), len(told))


def _applied(suite: Suite, asked: Mapping[str, Sequence[Expectation]], rows: pl.DataFrame, height: int) -> _Results:
    """What Great Expectations says of some rows.

    Args:
        suite: whose rules ask.
        asked: the expectations by rule.
        rows: with the columns that they look at, which can be none.
        height: how many rows there are.

    Raises:
        RuntimeError: an expectation of ours could not be applied.
    """
    if not asked:
        return {}
    import pandas as pd

    batches, gx = _whole_frames(), great_expectations()
    rules = {rule.name: rule for rule in suite.rules}
    found: _Results = {name: [] for name in asked}
    known = []
    for name, expectations in asked.items():
        rule = rules[name]
        for one in expectations:
            description = rule.description if isinstance(rule, Given) else rule.claim
            meta = {"check": suite.name, "rule": name}
            try:
                known.append(made(one.type, one.kwargs, severity=rule.severity, description=description, meta=meta))
            except UserError as error:
                found[name].append(str(error))
    frame = rows.to_pandas() if rows.columns else pd.DataFrame(index=range(height))
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    batch = batches.get_batch({"dataframe": frame})
    for result in batch.validate(gx.ExpectationSuite(suite.asset, known), result_format=result_format).results:
        found[result.expectation_config.meta["rule"]].append(_problem(result) or result)
    for name, results in found.items():
        problems = [result for result in results if isinstance(result, str)]
        if problems and not isinstance(rules[name], Given):
            raise RuntimeError(f"Great Expectations could not apply the rule {name}: {problems[0]}")
    return found


def made(type: str, kwargs: Mapping[str, Any], **further: Any) -> "GxExpectation":
    """An expectation as an object of Great Expectations.

    Raises:
        UserError: it does not know it by this name, or not with these arguments.
    """
    gx = great_expectations()
    from great_expectations.core.suite_parameters import build_suite_parameters
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        build_suite_parameters(deepcopy(dict(kwargs)))  # A parameter without a value would fail the suite as a whole.
        return ExpectationConfiguration(type=type, kwargs=dict(kwargs), **further).to_domain_obj()
    except (gx.exceptions.GreatExpectationsError, ValueError, TypeError) as error:
        raise UserError(reason_of(error)) from error


def _problem(result: "ExpectationValidationResult") -> str | None:
    """Why an expectation could not be applied. Great Expectations says it once, or once for each of its metrics."""
    said = result.exception_info
    for one in [said] if "raised_exception" in said else said.values():
        if one["raised_exception"]:
            return " ".join(str(one["exception_message"]).split()).removeprefix("Error: ")
    return None


def _finding(
    rule: Rule,
    results: "Sequence[ExpectationValidationResult | str]",
    rows: pl.DataFrame,
    estimates: Mapping[str, Estimate | None],
) -> Finding:
    if isinstance(results[0], str):
        return Finding(rule, False, None, rows.height, rows.clear(), problem=results[0])
    passed = all(result.success for result in results)
    if "partial_unexpected_index_list" in results[0].result:
        at_fault = sorted(place for one in results for place in one.result["partial_unexpected_index_list"])
        count = sum(int(one.result["unexpected_count"]) for one in results)
        looked_at = int(results[0].result["element_count"])  # A user's suite may have conditions of its own.
        return Finding(rule, passed, count, looked_at, rows[at_fault[:EXAMPLES]])
    observed = _plain(results[0].result.get("observed_value"))
    if observed is None:  # Expectations about distinct values name those at fault, and no row.
        observed = results[0].result.get("partial_unexpected_list") or None
    if isinstance(rule, Given):
        return Finding(rule, passed, observed, rows.height, rows.clear())
    estimate = estimates.get(rule.name)
    if isinstance(rule, Share) and rule.has_interval and observed is not None:
        estimate = Estimate(observed, **results[0].result["details"])
    return Finding(rule, passed, observed, rows.height, _pulling(rule, passed, observed, rows), estimate)


def _plain(observed: object) -> object:
    """A plain Python number or text instead of NumPy's."""
    return observed.item() if hasattr(observed, "item") else observed


def _pulling(rule: Measured, passed: bool, observed: float | None, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that pull a number below or above its bounds."""
    up = rule.pulls_up()
    if passed or observed is None or up is None:
        return rows.clear()
    return rows.filter(up if rule.high is not None and observed > rule.high else ~up).head(EXAMPLES)


TEXT_CHARACTERS = 160
IDS_IN_SENTENCE = 3


def check_result(
    suite: Suite, rows: pl.DataFrame, findings: Sequence[Finding], asset_key: dg.AssetKey
) -> dg.AssetCheckResult:
    """What a check says.

    Args:
        suite: what is demanded.
        rows: as `suite.rows` makes them.
        findings: of the suite on these rows.
        asset_key: of the asset that is checked.

    Returns:
        Failed with severity ERROR if its rules are critical, with WARN if they are warnings. Metadata: the counts of
        the suite, the observed number of every rule under its name, the bounds of every limit as `<name>_min` and
        `<name>_max`, the interval of an estimate as `<name>_low` and `<name>_high`, its rows as `<name>_n`, and up to
        ten `offending_rows`.
    """
    broken = [finding for finding in findings if not finding.passed]
    metadata: dict[str, Any] = suite.numbers(rows)
    for finding in findings:
        metadata |= _numbers(finding)
    if any(finding.examples.height for finding in broken):
        metadata["offending_rows"] = _table(suite, broken)
    return dg.AssetCheckResult(
        passed=not broken,
        asset_key=asset_key,
        check_name=suite.name,
        severity=dg.AssetCheckSeverity.ERROR if suite.can_stop else dg.AssetCheckSeverity.WARN,
        description=_sentence([_broken(suite, finding) for finding in broken] or _all_hold(findings)),
        metadata=metadata,
    )


def _numbers(finding: Finding) -> dict[str, int | float]:
    rule = finding.rule
    numbers = {rule.name: finding.observed}
    if isinstance(rule, Measured):
        numbers |= {f"{rule.name}_min": rule.low, f"{rule.name}_max": rule.high}
    if finding.estimate is not None:
        _, low, high, n = finding.estimate
        numbers |= {f"{rule.name}_low": float(low), f"{rule.name}_high": float(high), f"{rule.name}_n": int(n)}
    return {name: value for name, value in numbers.items() if isinstance(value, int | float) and math.isfinite(value)}


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _broken(suite: Suite, finding: Finding) -> str:
    rule = finding.rule
    if isinstance(rule, Measured):
        return _measured(finding)
    if finding.problem is not None:
        return f"{rule.name} cannot be applied: {as_clause(finding.problem)}"
    if finding.examples.is_empty():
        observed = "" if finding.observed is None else f": {finding.observed} was observed"
        return f"{rule.name} does not hold{observed}"
    id = suite.shown[0]
    first = ", ".join(str(value) for value in finding.examples[id].head(IDS_IN_SENTENCE))
    more = ", …" if finding.observed > IDS_IN_SENTENCE else ""
    fault = rule.fault if isinstance(rule, RowRule) else f"fail {rule.name}"
    return f"{finding.observed:,} of {finding.rows:,} {rule.of} {fault} ({id} {first}{more})"


def _all_hold(findings: Sequence[Finding]) -> list[str]:
    looked_at = {finding.rule.of: finding.rows for finding in findings if not isinstance(finding.rule, Measured)}
    limits = [_measured(finding) for finding in findings if isinstance(finding.rule, Measured)]
    nothing = [f"0 of {rows:,} {of} fail" for of, rows in looked_at.items()]
    return (nothing or [f"0 of {len(limits)} limits are broken"]) + limits


def _measured(finding: Finding) -> str:
    rule = finding.rule
    if finding.observed is None:
        because = f"as there are no {rule.of}" if finding.rows == 0 else f"from {finding.rows:,} {rule.of}"
        return f"{rule.measure} cannot be measured{',' if finding.rows == 0 else ''} {because}"
    if isinstance(rule, Count):
        return f"{rule.measure} is {finding.observed:,} ({rule.bounds} is required)"
    if finding.estimate is None:
        among = f"{rule.measure} among {finding.rows:,} {rule.of}"
        return f"{among} is {finding.observed:.6g} ({rule.bounds} is required)"
    value, low, high, n = finding.estimate
    interval = "" if low == high else f"95 % {low:.4g} to {high:.4g}; "
    return f"{rule.measure} among {n:,} {rule.of} is {value:.4g} ({interval}{rule.bounds} is required)"


def _table(suite: Suite, broken: Sequence[Finding]) -> dg.TableMetadataValue:
    """The first rows at fault, of every broken rule at least one, as text."""
    with_examples = [finding for finding in broken if finding.examples.height]
    share = max(1, EXAMPLES // len(with_examples))
    records = [
        dg.TableRecord({"rule": finding.rule.name, **{name: _cell(value) for name, value in row.items()}})
        for finding in with_examples
        for row in finding.examples.head(share).select(suite.shown).iter_rows(named=True)
    ]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in ("rule", *suite.shown)])
    return dg.MetadataValue.table(records[:EXAMPLES], schema)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 1] + "…"
