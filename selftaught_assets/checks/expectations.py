"""Expectations that Great Expectations does not have, under names of their own.

This file needs Great Expectations and pandas only: `selftaught checks export` copies it into the `plugins` of the
project that it writes, so GX applies there what the checks apply here. Importing it makes the names known to GX.
"""

import copy
import html
import re
from statistics import NormalDist
from typing import Any, ClassVar

import pandas as pd
from great_expectations.core import ExpectationSuite
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.data_context.store import (
    ExpectationsStore as ExpectationsStore,  # A project takes it from here.
)
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    BatchExpectation,
    ColumnAggregateExpectation,
    ColumnMapExpectation,
    ColumnPairMapExpectation,
)
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    ColumnPairMapMetricProvider,
    column_condition_partial,
    column_pair_condition_partial,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.render.renderer import ExpectationSuitePageRenderer, ValidationResultsPageRenderer


def wilson_interval(true: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the share true / n, for n > 0."""
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    share = true / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


_WORD = re.compile("[^\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def as_read(text: str, ignore_case: bool) -> str:
    """A text with every run of white space as one space, and in small letters if case is ignored."""
    words = " ".join(_WORD.findall(text))
    return words.lower() if ignore_case else words


class ShareInSet(ColumnAggregateMetricProvider):
    """How many values lie in a set, of how many."""

    metric_name = "column.share_in_set"
    value_keys = ("value_set", "count_null")

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, value_set: list[Any], count_null: bool, **_: Any) -> dict[str, int]:
        null = column.isna()
        inside = column.isin([value for value in value_set if value is not None])
        if None in value_set:
            inside |= null
        counted = inside if count_null else inside[~null]
        return {"true": int(counted.sum()), "n": len(counted)}


class ExpectShareOfRowsToBeWithin(ColumnAggregateExpectation):
    """Expect the share of rows whose value in `column` is in `value_set` to lie between two bounds.

    With `confidence`, the share is judged by its interval (Wilson): the expectation fails only if the whole interval
    lies beyond a bound. So a small table, from which little is known, fails only for a gross fault, and one without
    rows does not fail. Without it the share itself must be within the bounds, and there must be one.

    Rows whose value is null are left out, unless `count_null`; then they are in the set if null is one of its values.
    """

    value_set: list[Any]
    count_null: bool = False
    confidence: float | None = None
    min_value: float | None = None
    max_value: float | None = None

    metric_dependencies = ("column.share_in_set",)
    success_keys = ("value_set", "count_null", "confidence", "min_value", "max_value")

    def _validate(self, metrics: dict, runtime_configuration: Any = None, execution_engine: Any = None) -> dict:
        true, n = (metrics["column.share_in_set"][name] for name in ("true", "n"))
        if n == 0:
            return {"success": self.confidence is not None, "result": {"observed_value": None}}
        share = true / n
        low, high = (share, share) if self.confidence is None else wilson_interval(true, n, self.confidence)
        return _within(self, share, low, high, n)


class EstimateMetric(TableMetricProvider):
    """One estimate of a table that has a row for each: its value, its interval, and of how many rows it is."""

    metric_name = "table.estimate"
    value_keys = ("estimate",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls, execution_engine: Any, metric_domain_kwargs: dict, metric_value_kwargs: dict, **_: Any
    ) -> dict[str, float] | None:
        table, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        rows = table[table["estimate"] == metric_value_kwargs["estimate"]]
        return rows.drop(columns="estimate").iloc[0].to_dict() if len(rows) else None


class ExpectEstimateToBeWithin(BatchExpectation):
    """Expect an estimate not to lie beyond two bounds with its whole interval.

    The table has one row for each estimate, with the columns `estimate` (its name), `value`, `low`, `high` and `n`.
    One that is not there cannot be told, which is no failure.
    """

    estimate: str
    min_value: float | None = None
    max_value: float | None = None

    metric_dependencies = ("table.estimate",)
    success_keys = ("estimate", "min_value", "max_value")

    def _validate(self, metrics: dict, runtime_configuration: Any = None, execution_engine: Any = None) -> dict:
        found = metrics["table.estimate"]
        if found is None:
            return {"success": True, "result": {"observed_value": None}}
        return _within(self, found["value"], found["low"], found["high"], int(found["n"]))


def _within(expectation: Any, value: float, low: float, high: float, n: int) -> dict[str, Any]:
    """The result of an expectation that fails only if the whole interval lies beyond a bound."""
    above = expectation.min_value is None or high >= expectation.min_value
    below = expectation.max_value is None or low <= expectation.max_value
    details = {"low": float(low), "high": float(high), "n": n}
    return {"success": above and below, "result": {"observed_value": float(value), "details": details}}


class TextsNotRepeated(ColumnMapMetricProvider):
    condition_metric_name = "column_values.text_not_repeated"
    condition_value_keys = ("ignore_case",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, ignore_case: bool = False, **_: Any) -> pd.Series:
        return ~column.map(lambda text: as_read(text, ignore_case)).duplicated()


class ExpectColumnTextsNotToRepeat(ColumnMapExpectation):
    """Expect no text of a column to read like an earlier one: white space does not count, nor case if ignored."""

    ignore_case: bool = False

    map_metric = "column_values.text_not_repeated"
    success_keys = ("mostly", "ignore_case")


class TextsDiffer(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.text_differs"
    condition_domain_keys = (
        "batch_id",
        "table",
        "column_A",
        "column_B",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    condition_value_keys = ("ignore_case",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, ignore_case: bool = False, **_: Any) -> pd.Series:
        differ = [
            as_read(one, ignore_case) != as_read(other, ignore_case)
            for one, other in zip(column_A, column_B, strict=True)
        ]
        return pd.Series(differ, index=column_A.index, dtype=bool)


class ExpectColumnPairTextsToDiffer(ColumnPairMapExpectation):
    """Expect two texts of a row not to read the same: white space does not count, nor case if ignored.

    Rows that lack one of the texts are passed over.
    """

    ignore_case: bool = False
    ignore_row_if: str = "either_value_is_missing"

    map_metric = "column_pair_values.text_differs"
    domain_keys: ClassVar = ("batch_id", "column_A", "column_B", "row_condition", "condition_parser", "ignore_row_if")
    success_keys = ("mostly", "ignore_case")


class EscapingResultsRenderer(ValidationResultsPageRenderer):
    """The pages of Data Docs about results, with values of the data, and what a suite says, as text.

    Great Expectations writes both into its pages as they are: a text with markup would run in the browser.
    """

    def render(self, validation_results: Any, *args: Any, **kwargs: Any) -> Any:
        shown = copy.deepcopy(validation_results)
        for one in shown.results:
            one.result = _escaped(one.result)
            if "unexpected_count" in one.result and "unexpected_percent" not in one.result:
                # Distinct values, of which the page shows nothing but a traceback.
                del one.result["unexpected_count"]
                one.result["observed_value"] = one.result.pop("partial_unexpected_list", None)
            one.exception_info = _escaped(one.exception_info)
            one.expectation_config.description = _escaped(one.expectation_config.description)
        return super().render(shown, *args, **kwargs)


class EscapingSuiteRenderer(ExpectationSuitePageRenderer):
    """The pages about suites, with what a suite says as text."""

    def render(self, expectations: Any, *args: Any, **kwargs: Any) -> Any:
        shown = ExpectationSuite(expectations.name, [copy.copy(one) for one in expectations.expectations])
        for one in shown.expectations:
            one.description = _escaped(one.description)
        return super().render(shown, *args, **kwargs)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list | tuple) else value
