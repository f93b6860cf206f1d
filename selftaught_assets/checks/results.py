"""A suite applied to a table with Great Expectations, and what the check then says.

Applies a suite to the rows of a table, with Great Expectations.

What a check says: one sentence, the numbers behind it, and the rows at fault.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
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


TEXT_CHARACTERS = 160
IDS_IN_SENTENCE = 3


def check_result(suite: Suite, rows: pl.DataFrame, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """Applies a suite.

    Args:
        suite: what is demanded.
        rows: as `suite.rows` makes them.
        asset_key: of the asset that is checked.

    Returns:
        Failed with severity ERROR if its rules are critical, with WARN if they are warnings. Metadata: the counts of
        the suite, the observed number of every rule under its name, the bounds of every limit as `<name>_min` and
        `<name>_max`, the interval of an estimate as `<name>_low` and `<name>_high`, its rows as `<name>_n`, and up to
        ten `offending_rows`.
    """
    findings = validate(suite, rows)
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
    if isinstance(rule, RowRule):
        numbers = {rule.name: finding.observed}
    else:
        numbers = {rule.name: finding.observed, f"{rule.name}_min": rule.low, f"{rule.name}_max": rule.high}
    if finding.estimate is not None:
        _, low, high, n = finding.estimate
        numbers |= {f"{rule.name}_low": float(low), f"{rule.name}_high": float(high), f"{rule.name}_n": int(n)}
    return {name: value for name, value in numbers.items() if value is not None}


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _broken(suite: Suite, finding: Finding) -> str:
    if not isinstance(finding.rule, RowRule):
        return _measured(finding)
    id = suite.shown[0]
    first = ", ".join(str(value) for value in finding.examples[id].head(IDS_IN_SENTENCE))
    more = ", …" if finding.observed > IDS_IN_SENTENCE else ""
    return f"{finding.observed:,} of {finding.rows:,} {finding.rule.of} {finding.rule.fault} ({id} {first}{more})"


def _all_hold(findings: Sequence[Finding]) -> list[str]:
    looked_at = {finding.rule.of: finding.rows for finding in findings if isinstance(finding.rule, RowRule)}
    limits = [_measured(finding) for finding in findings if not isinstance(finding.rule, RowRule)]
    nothing = [f"0 of {rows:,} {of} are at fault" for of, rows in looked_at.items()]
    return (nothing or [f"0 of {len(limits)} limits are broken"]) + limits


def _measured(finding: Finding) -> str:
    rule = finding.rule
    if finding.observed is None:
        because = f"as there are no {rule.of}" if finding.rows == 0 else f"from {finding.rows:,} {rule.of}"
        return f"{rule.measure} cannot be told{',' if finding.rows == 0 else ''} {because}"
    if isinstance(rule, Estimated):
        value, low, high, n = finding.estimate
        interval = "" if low == high else f"95 % {low:.4g} to {high:.4g}; "
        return f"{rule.measure} among {n:,} {rule.of} is {value:.4g} ({interval}{rule.bounds} is demanded)"
    if rule.column is None:
        return f"{rule.measure} is {finding.observed:,} ({rule.bounds} is demanded)"
    among = f"{rule.measure} among {finding.rows:,} {rule.of}"
    return f"{among} is {finding.observed:.6g} ({rule.bounds} is demanded)"


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
