"""The vocabulary of data-quality checks: a suite of rules about one table, each asked of Great Expectations.

A rule names the expectations that it asks, of columns of the table or of columns that the suite adds to it. What no
expectation can know, such as the tables upstream, is prepared as columns; a number that takes more than one column is
an estimate. The sentences of a check's spec and of its result come from the same rule, so a check cannot report what
its spec did not claim.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import polars as pl

from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.storage.layout import Layout

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


Severity = Literal["critical", "warning"]
"""`critical` stops the run, `warning` shows."""


class Expectation(NamedTuple):
    """An expectation, by its name in Great Expectations: a stock one, or one of expectations.py."""

    type: str
    kwargs: Mapping[str, Any]

    @property
    def columns(self) -> list[str]:
        """The columns that it looks at, but for what is no text in a user's suite: Great Expectations refuses that."""
        single = [self.kwargs.get(name) for name in ("column", "column_A", "column_B")]
        several = self.kwargs.get("column_list")
        return [name for name in (*single, *(several if isinstance(several, list) else ())) if isinstance(name, str)]


def not_null(column: str) -> Expectation:
    return Expectation("expect_column_values_to_not_be_null", {"column": column})


def null(column: str) -> Expectation:
    return Expectation("expect_column_values_to_be_null", {"column": column})


def in_set(column: str, values: Sequence[object]) -> Expectation:
    return Expectation("expect_column_values_to_be_in_set", {"column": column, "value_set": list(values)})


def between(column: str, low: float | None, high: float | None, **strict: bool) -> Expectation:
    bounds = {"min_value": low, "max_value": high}
    return Expectation("expect_column_values_to_be_between", {"column": column, **bounds, **strict})


def shorter_or_equal(column: str, characters: int) -> Expectation:
    kwargs = {"column": column, "max_value": characters}
    return Expectation("expect_column_value_lengths_to_be_between", kwargs)


def matching(column: str, regex: str) -> Expectation:
    """The regular expression must mean the same in Python, in Rust and in RE2: pandas may use any of them."""
    return Expectation("expect_column_values_to_match_regex", {"column": column, "regex": regex})


def not_matching(column: str, regex: str) -> Expectation:
    return Expectation("expect_column_values_to_not_match_regex", {"column": column, "regex": regex})


def unique(*columns: str) -> Expectation:
    """All rows that share their values are at fault, the first one included."""
    if len(columns) == 1:
        return Expectation("expect_column_values_to_be_unique", {"column": columns[0]})
    return Expectation("expect_compound_columns_to_be_unique", {"column_list": list(columns)})


def equal(first: str, second: str, *, both_null: bool = True) -> Expectation:
    """A row that lacks one value only is at fault; one that lacks both is, unless `both_null`."""
    ignored = "both_values_are_missing" if both_null else "neither"
    kwargs = {"column_A": first, "column_B": second, "ignore_row_if": ignored}
    return Expectation("expect_column_pair_values_to_be_equal", kwargs)


def above(first: str, second: str) -> Expectation:
    """Rows that lack one of the values are passed over."""
    kwargs = {"column_A": first, "column_B": second, "ignore_row_if": "either_value_is_missing"}
    return Expectation("expect_column_pair_values_a_to_be_greater_than_b", kwargs)


def texts_differ(first: str, second: str, *, ignore_case: bool = False) -> Expectation:
    kwargs = {"column_A": first, "column_B": second, "ignore_case": ignore_case}
    return Expectation("expect_column_pair_texts_to_differ", kwargs)


def texts_not_repeated(column: str, *, ignore_case: bool = False) -> Expectation:
    return Expectation("expect_column_texts_not_to_repeat", {"column": column, "ignore_case": ignore_case})


class Where(NamedTuple):
    """Which rows a rule looks at: those with these values."""

    values: tuple[tuple[str, object], ...]
    stored: tuple[tuple[str, object], ...] | None
    """The same of the table as it is stored, where `values` are of columns that the suite adds; None if it cannot be
    said."""

    @property
    def holds(self) -> pl.Expr:
        return pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in self.values)


def only(**values: object) -> Where:
    """The rows with these values; None is null."""
    return Where(tuple(values.items()), tuple(values.items()))


KEPT = only(drop_reason=None)


@dataclass(frozen=True)
class RowRule:
    """A demand on every row: none may be at fault."""

    name: str
    """Metadata entry with the number of rows at fault."""
    of: str
    """What the rows are, in the plural: "kept pairs"."""
    fault: str
    """What a row at fault does, as a predicate in the plural: "have an empty rejected response"."""
    expectations: tuple[Expectation, ...]
    """A row is at fault if it fails one of them. None is at fault by two: Great Expectations passes over nulls, so a
    demand on a column that must be there is asked beside `not_null`."""
    where: Where | None = None
    """The rows that are looked at. None takes all."""
    severity: Severity = "critical"

    @property
    def claim(self) -> str:
        return f"None of the {self.of} {self.fault}."


@dataclass(frozen=True)
class Measured:
    """A demand that a number stays between two bounds."""

    name: str
    """Metadata entry with the number; its bounds are `<name>_min` and `<name>_max`. Where it has an interval, that is
    `<name>_low` and `<name>_high`, and the rows that it is taken from `<name>_n`."""
    of: str
    """What the rows are, in the plural."""
    measure: str
    """What the number is: "the share of valid pairs"."""
    low: float | None
    high: float | None
    where: Where | None
    severity: Severity

    @property
    def bounds(self) -> str:
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"

    @property
    def limits(self) -> dict[str, float | None]:
        """The bounds, as expectations call them."""
        return {"min_value": self.low, "max_value": self.high}

    @property
    def has_interval(self) -> bool:
        return True

    @property
    def claim(self) -> str:
        tells = ", as far as its interval of 95 % tells" if self.has_interval else ""
        return f"{self.measure[0].upper()}{self.measure[1:]} is {self.bounds}{tells}."

    def pulls_up(self) -> pl.Expr | None:
        """The rows that push the number up, the others push it down; None where no row does."""
        return None


@dataclass(frozen=True)
class Count(Measured):
    """A demand on the number of rows."""

    @property
    def has_interval(self) -> bool:
        return False

    @property
    def expectation(self) -> Expectation:
        return Expectation("expect_table_row_count_to_be_between", self.limits)


CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share(Measured):
    """A demand on the share of rows whose value in a column is in a set."""

    column: str
    values: tuple[object, ...]
    count_null: bool
    """Whether rows whose value is null count; if not, they are left out."""
    exact: bool
    """Judged by the share itself instead of its interval."""

    @property
    def has_interval(self) -> bool:
        return not self.exact

    @property
    def expectation(self) -> Expectation:
        kwargs = {"column": self.column, "value_set": list(self.values), "count_null": self.count_null}
        confidence = None if self.exact else CONFIDENCE
        return Expectation("expect_share_of_rows_to_be_within", kwargs | {"confidence": confidence} | self.limits)

    def pulls_up(self) -> pl.Expr:
        inside = pl.col(self.column).is_in([value for value in self.values if value is not None])
        if not self.count_null:
            return inside
        return inside.fill_null(None in self.values)


class Estimate(NamedTuple):
    """A number with its interval of 95 %; one that is known exactly is its own interval."""

    value: float
    low: float
    high: float
    n: int
    """Rows that it is taken from."""


@dataclass(frozen=True)
class Estimated(Measured):
    """A demand on a number with an interval: broken only if the whole interval lies beyond a bound.

    So a small table, from which little is known, breaks it only by a gross fault.
    """

    estimate: Callable[[pl.DataFrame], Estimate | None]
    """From the rows; None where they cannot tell it, which breaks nothing."""
    culprits: str | None
    """Boolean column of the rows that push the number up."""

    @property
    def expectation(self) -> Expectation:
        return Expectation("expect_estimate_to_be_within", {"estimate": self.name, **self.limits})

    def pulls_up(self) -> pl.Expr | None:
        return None if self.culprits is None else pl.col(self.culprits)


@dataclass(frozen=True)
class Given:
    """An expectation of a user's own suite, as it stands there."""

    name: str
    expectation: Expectation
    severity: Severity
    description: str | None
    """What the suite says of it."""
    of: str = "rows"
    where: None = None

    @property
    def claim(self) -> str:
        return self.description or f"{self.name}."


Rule = RowRule | Count | Share | Estimated | Given


def holds(
    name: str, of: str, fault: str, column: str, where: Where | None = None, severity: Severity = "critical"
) -> RowRule:
    """The rule that a boolean column is true in every row; null is not."""
    return RowRule(name, of, fault, (not_null(column), in_set(column, [True])), where, severity)


def count(
    name: str, of: str, measure: str, *, low: float, where: Where | None = None, severity: Severity = "critical"
) -> Count:
    """The rule that there is at least this number of rows."""
    return Count(name, of, measure, low, None, where, severity)


def exact_share(
    name: str,
    of: str,
    measure: str,
    column: str,
    *values: object,
    low: float | None = None,
    high: float | None = None,
    where: Where | None = None,
) -> Share:
    """The critical rule that the share of rows with one of these values stays between bounds; null is a value too."""
    return Share(name, of, measure, low, high, where, "critical", column, values, count_null=True, exact=True)


def share(
    name: str,
    of: str,
    measure: str,
    column: str,
    *values: object,
    low: float | None = None,
    high: float | None = None,
    where: Where | None = None,
) -> Share:
    """The warning that the share of rows with one of these values stays between bounds, by Wilson's interval.

    Without values, it is the share of rows in which a boolean column is true; rows in which that is null are left out.
    """
    counted = (values, True) if values else ((True,), False)
    return Share(name, of, measure, low, high, where, "warning", column, *counted, exact=False)


def estimated(
    name: str,
    of: str,
    measure: str,
    estimate: Callable[[pl.DataFrame], Estimate | None],
    *,
    low: float | None = None,
    high: float | None = None,
    where: Where | None = None,
    culprits: str | None = None,
) -> Estimated:
    """The warning that an estimate stays between bounds."""
    return Estimated(name, of, measure, low, high, where, "warning", estimate, culprits)


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
    """The rows that the rules look at, with every column that they name: columns of the table, unchanged, and columns
    that the suite adds."""
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
