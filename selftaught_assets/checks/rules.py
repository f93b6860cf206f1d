"""The vocabulary of data-quality checks: a suite of rules about one table.

Belongs here: what a suite is, and how it says what it demands. Not here: the suites themselves (suites.py, accounts.py)
and how they are applied (validation.py). The sentences of a check's spec and of its result come from the same rule, so
a check cannot report what its spec did not claim.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Tables = Mapping[str, pl.DataFrame]
"""The table that is checked and those upstream of it, by asset name."""

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


@dataclass(frozen=True)
class Limit:
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

    @property
    def bounds(self) -> str:
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"

    @property
    def claim(self) -> str:
        return f"{self.measure[0].upper()}{self.measure[1:]} is {self.bounds}."


Rule = RowRule | Limit


def holds(name: str, of: str, fault: str, column: str, where: str | None = None) -> RowRule:
    """The rule that a boolean column is true in every row."""
    arguments = {"column": column, "value_set": [True]}
    return RowRule(name, of, fault, "expect_column_values_to_be_in_set", arguments, where)


@dataclass(frozen=True)
class Suite:
    """One check of one asset."""

    asset: str
    name: str
    purpose: str
    """One sentence: why it matters."""
    rules: tuple[Rule, ...]
    rows: Callable[[Tables], pl.DataFrame]
    """The rows that the rules look at, with every column that they name: columns of the table, and derived ones."""
    shown: tuple[str, ...]
    """Columns of `rows` by which a row at fault is shown, ids first."""
    upstream: tuple[str, ...] = ()
    """Further tables that `rows` needs."""
    numbers: Callable[[pl.DataFrame], dict[str, int]] = lambda rows: {"rows": rows.height}
    """Counts of `rows` that every result carries."""

    @property
    def description(self) -> str:
        """What the check demands: the claims of its rules."""
        return "\n".join([self.purpose, *(f"- {rule.claim}" for rule in self.rules)])
