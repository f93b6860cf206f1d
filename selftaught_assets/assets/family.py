"""What the assets of one recipe have in common: key prefix, partitions, data folder, and how they are described.

Belongs here: policies that hold for every asset. Not here: any one asset.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_partitions
from selftaught_assets.method.accounting import account
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import table_version

OWNERS = ["team:evaluators"]

SECONDS = "seconds"
"""Metadata of every asset: wall time of its step."""

AUTOMATION = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
"""Follow the upstream at once, unless a blocking check failed there. The sensor that acts on it is shipped stopped."""


@dataclass(frozen=True)
class Family:
    """The assets of one recipe."""

    recipe: Recipe
    layout: Layout

    @property
    def partitions(self) -> dg.StaticPartitionsDefinition:
        return iteration_partitions(self.recipe.iterations)

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([self.recipe.name, name])

    def table(self, name: str) -> dg.AssetIn:
        """An upstream table, handed to the asset as a frame."""
        return dg.AssetIn(key=self.key(name), input_manager_key="tables")

    def asset(
        self,
        *,
        group: str,
        kinds: set[str],
        sections: tuple[str, ...],
        deps: tuple[str, ...] = (),
        tables: tuple[str, ...] = (),
        by_iteration: bool = True,
        automated: bool = True,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """The decorator of every asset: its name and description are the function's.

        Args:
            group: phase of the method, a band in the graph.
            kinds: at most ten technologies, shown as icons.
            sections: recipe sections that the asset uses; its code version changes with them.
            deps: upstream assets that it reads by itself, or only waits for.
            tables: upstream tables that it gets as frames, in parameters of the same name.
            by_iteration: partitioned by iteration.
            automated: rolls on by itself where automation is switched on.
        """
        decorate = dg.asset(
            key_prefix=self.recipe.name,
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            code_version=self.recipe.version(*sections),
            deps=[self.key(name) for name in deps],
            ins={name: self.table(name) for name in tables},
            partitions_def=self.partitions if by_iteration else None,
            automation_condition=AUTOMATION if automated else None,
            io_manager_key="tables",
        )
        return lambda function: decorate(_as_step(function))


def table_output(frame: pl.DataFrame, rows_in: int, **metadata: Any) -> dg.Output[pl.DataFrame]:
    """A table with the account of its rows, as numbers that the UI plots per partition."""
    accounts = account(frame, rows_in)
    dropped = {f"dropped_{reason}": count for reason, count in accounts.dropped.items()}
    numbers = {"rows_in": accounts.rows_in, "rows_kept": accounts.kept, **dropped, **metadata}
    return dg.Output(frame, metadata=numbers, data_version=table_version(frame))


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that the next stage reads."""
    return frame.filter(pl.col("drop_reason").is_null())


def _as_step(function: Callable[..., Any]) -> Callable[..., Any]:
    """Times the asset. A user's mistake becomes a failed step that says it in one sentence and is not retried."""

    @functools.wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            result = function(*args, **kwargs)
        except UserError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        dg.AssetExecutionContext.get().add_asset_metadata({SECONDS: round(time.monotonic() - started, 2)})
        return result

    return step
