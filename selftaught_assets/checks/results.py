"""What a check says: one sentence, the numbers behind it, and the rows at fault.

Belongs here: from findings to Dagster's check results. Not here: how they were found (validation.py).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from selftaught_assets.checks.rules import Estimated, RowRule, Suite
from selftaught_assets.checks.validation import EXAMPLES, Finding, validate

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
