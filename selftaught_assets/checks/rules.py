"""The vocabulary of data-quality checks: a suite of rules about one table.

The sentences of a check's spec and of its result come from the same rule, so a check cannot report what its spec did
not claim.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import polars as pl

from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.storage.layout import Layout

MEAN = "expect_column_mean_to_be_between"
ROW_COUNT = "expect_table_row_count_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"

Tables = Mapping[str, pl.DataFrame]
"""The table that is checked and those upstream of it, by asset name."""


@dataclass(frozen=True)
class Subject:
    """What a suite looks at: one partition of its asset."""

    tables: Tables
    layout: Layout
    """Where everything else of the recipe lies: files that are no tables, and tables of other partitions."""
    iteration: str | None = None
    """Its partition; None for assets that have none."""


class Estimate(NamedTuple):
    """A number with its interval of 95 %; one that is known exactly is its own interval."""

    value: float
    low: float
    high: float
    n: int
    """Rows that it is taken from."""


Severity = Literal["critical", "warning"]
"""`critical` stops the run, `warning` shows."""


@dataclass(frozen=True)
class RowRule:
    """A demand on every row: none may be at fault."""

    name: str
    """Metadata entry with the number of rows at fault."""
    of: str
    """What the rows are, in the plural: "kept pairs"."""
    fault: str
    """What a row at fault does, as a predicate in the plural: "have an empty rejected response"."""
    expectation: str
    """Type of the Great Expectations expectation, one that looks at every value of a column."""
    arguments: Mapping[str, Any]
    where: str | None = None
    """Boolean column: only rows where it is true are looked at. None takes all."""
    severity: Severity = "critical"

    @property
    def claim(self) -> str:
        return f"None of the {self.of} {self.fault}."


class _Bounded:
    """The words of a demand that a number stays between two bounds."""

    measure: str
    low: float | None
    high: float | None

    @property
    def bounds(self) -> str:
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"

    @property
    def claim(self) -> str:
        return f"{self.measure[0].upper()}{self.measure[1:]} is {self.bounds}."


@dataclass(frozen=True)
class Limit(_Bounded):
    """A demand on a number of the table: its mean or its size stays between two bounds."""

    name: str
    """Metadata entry with the number; its bounds are `<name>_min` and `<name>_max`."""
    of: str
    """What the rows are, in the plural."""
    measure: str
    """What the number is: "the share of valid pairs"."""
    expectation: str
    """Type of the expectation, one that observes a single number."""
    column: str | None = None
    """The boolean column whose mean is taken; None where the rows are counted."""
    low: float | None = None
    high: float | None = None
    where: str | None = None
    severity: Severity = "critical"

    @property
    def arguments(self) -> dict[str, Any]:
        bounds = {"min_value": self.low, "max_value": self.high}
        return bounds if self.column is None else {"column": self.column, **bounds}


@dataclass(frozen=True)
class Estimated(_Bounded):
    """A demand on a number with an interval: broken only if the whole interval lies beyond a bound.

    So a small table, from which little is known, breaks it only by a gross fault.
    """

    name: str
    """Metadata entry with the number. Its interval is `<name>_low` and `<name>_high`, its bounds are `<name>_min` and
    `<name>_max`, and the rows that it is taken from `<name>_n`."""
    of: str
    """What the rows are, in the plural."""
    measure: str
    """What the number is: "the share of judgments that were cut off"."""
    estimate: Callable[[pl.DataFrame], Estimate | None]
    """From the rows; None where they cannot tell it, which breaks nothing."""
    low: float | None = None
    high: float | None = None
    where: str | None = None
    culprits: str | None = None
    """Boolean column of the rows that push the number up; those are shown if it is too high, the others if too low."""
    severity: Severity = "warning"

    @property
    def claim(self) -> str:
        return f"{super().claim[:-1]}, as far as its interval of 95 % tells."


Rule = RowRule | Limit | Estimated


def holds(
    name: str, of: str, fault: str, column: str, where: str | None = None, severity: Severity = "critical"
) -> RowRule:
    """The rule that a boolean column is true in every row; null is not."""
    return RowRule(name, of, fault, IN_SET, {"column": column, "value_set": [True]}, where, severity)


def share(
    name: str,
    of: str,
    measure: str,
    column: str,
    *,
    low: float | None = None,
    high: float | None = None,
    where: str | None = None,
) -> Estimated:
    """The warning that the share of rows in which a boolean column is true stays between bounds, by Wilson's interval.

    Rows in which it is null are left out.
    """

    def estimate(rows: pl.DataFrame) -> Estimate | None:
        return share_estimate(rows[column])

    return Estimated(name, of, measure, estimate, low, high, where, culprits=column)


def share_estimate(values: pl.Series) -> Estimate | None:
    """The share of true values among those that are not null, with Wilson's interval; None if there are none."""
    n, true = values.count(), int(values.sum() or 0)
    return Estimate(true / n, *wilson_interval(true, n), n) if n else None


def exactly(value: float, n: int) -> Estimate:
    """A number without uncertainty."""
    return Estimate(value, value, value, n)


@dataclass(frozen=True)
class Suite:
    """One check of one asset, or two, if its rules differ in severity (`by_severity`)."""

    asset: str
    name: str
    purpose: str
    """One sentence: why it matters."""
    rules: tuple[Rule, ...]
    rows: Callable[[Subject], pl.DataFrame]
    """The rows that the rules look at, with every column that they name: columns of the table, and derived ones."""
    shown: tuple[str, ...]
    """Columns of `rows` by which a row at fault is shown, ids first."""
    upstream: tuple[str, ...] = ()
    """Further tables that `rows` needs."""
    after: tuple[str, ...] = ()
    """Assets that it waits for where they are made in the same run; `rows` finds what there is of them itself."""
    is_table: bool = True
    """False where the asset is a file or a folder, which `rows` finds by the layout."""
    numbers: Callable[[pl.DataFrame], dict[str, int | float]] = lambda rows: {"rows": rows.height}
    """Counts of `rows` that every result carries."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tables that `rows` is given."""
        return (self.asset, *self.upstream) if self.is_table else self.upstream

    @property
    def can_stop(self) -> bool:
        """Whether a rule of it is critical."""
        return any(rule.severity == "critical" for rule in self.rules)

    def by_severity(self) -> "list[Suite]":
        """One check for each severity: the critical rules under its name, the others under `<name>_warnings`.

        Dagster knows of a check as a whole whether it blocks, and its automation waits wherever such a check did not
        pass, if by a warning only. Both have the same `rows`. A suite of one severity stays as it is.
        """
        critical = tuple(rule for rule in self.rules if rule.severity == "critical")
        warnings = tuple(rule for rule in self.rules if rule.severity == "warning")
        if not critical or not warnings:
            return [self]
        return [replace(self, rules=critical), replace(self, name=f"{self.name}_warnings", rules=warnings)]

    @property
    def description(self) -> str:
        """What the check demands: the claims of its rules."""
        return "\n".join([self.purpose, *(f"- {rule.claim}" for rule in self.rules)])
