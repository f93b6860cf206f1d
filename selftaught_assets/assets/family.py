"""What the assets of one recipe share: key prefix, partitions, data folder, and descriptions."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from selftaught_assets.assets.io_manager import BASIS, DATA_VERSION, SETTINGS, as_failed_step
from selftaught_assets.iterations import iteration_partitions
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.assets import Phase
from selftaught_assets.runs import end_with_run
from selftaught_assets.staleness import Basis, basis_of, stage_of
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.ownership import claim
from selftaught_assets.storage.stored import required
from selftaught_assets.storage.tables import table_version
from selftaught_assets.storage.writers import begin_stage, end_stage


class Account(NamedTuple):
    """Rows of one stage; `rows_in` = `kept` + the sum of `dropped`."""

    rows_in: int
    kept: int
    dropped: dict[str, int]
    """Rows for each drop reason, the most frequent first."""


def account(frame: pl.DataFrame, rows_in: int) -> Account:
    """Counts a table by its `drop_reason` (null = kept); a table without that column keeps all rows.

    Args:
        frame: the table that the stage made.
        rows_in: rows that it had to account for.

    Raises:
        ValueError: rows appeared or vanished.
    """
    has_reasons = "drop_reason" in frame.columns
    reasons = frame if has_reasons else frame.with_columns(drop_reason=pl.lit(None, dtype=pl.String))
    counts = reasons.group_by("drop_reason").len().sort(["len", "drop_reason"], descending=[True, False])
    by_reason = dict(counts.iter_rows())
    kept = by_reason.pop(None, 0)
    if frame.height != rows_in:
        dropped = frame.height - kept
        raise ValueError(f"{rows_in} rows went in, but {kept} kept and {dropped} dropped make {frame.height}.")
    return Account(rows_in, kept, by_reason)


TABLES = "selftaught_tables"
"""The resource that stores tables."""

UNPARTITIONED = ("instruction_pool", "seed_model", "benchmarks", "seed_evaluation", "progress", "report")
"""Assets that belong to no iteration."""

SHOWING = ("progress", "report")
"""Those that only show what there is: whoever makes one beside another makes the same."""

SECONDS = "seconds"
"""Metadata of every asset: wall time of its step."""

SAMPLING_SECTIONS = ("engine", "seed_model")
"""Sections that are recorded with what was sampled, although no asset becomes stale by them (`seed_model` has a data
version of its own)."""

_CHANGED = dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()

_DUE = (dg.AutomationCondition.newly_missing() | dg.AutomationCondition.any_deps_match(_CHANGED)).since(
    dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
)


def _automation(judge: dg.AssetKey) -> dg.AutomationCondition:
    """Follow the upstream at once, unless a blocking check failed there. The sensor that acts on it is shipped stopped.

    A judge that was published has not been checked: its materialization is logged by the run that trained it, and
    checks run where an asset is materialized. It is checked with the next run that materializes it.

    `AutomationCondition.eager` would not do: it leaves out what is missing when the sensor is switched on, and it
    overlooks an update by a run that also made this asset, whichever partition; but the run that makes judgments[i] and
    checkpoint[i] updates judge[i+1], which judgments[i+1] must follow.

    No condition asks whether the next judge was promoted: a checkpoint that is held back (assets/promotion.py) updates
    no judge[i+1], so nothing follows it until someone promotes it.
    """
    checked = dg.AutomationCondition.all_deps_blocking_checks_passed().ignore(dg.AssetSelection.assets(judge))
    return (
        _DUE
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
        & checked
    )


AUTOMATION_SO_FAR = (
    _DUE
    & dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)
"""Follow the upstream at once, whichever of its partitions are there and whatever its checks say, once there is any:
for what shows the state of things."""


@dataclass(frozen=True)
class Family:
    """The assets of one recipe."""

    recipe: Recipe
    layout: Layout

    @property
    def partitions(self) -> dg.StaticPartitionsDefinition:
        return iteration_partitions(self.recipe.iterations)

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([*self.recipe.key_prefix, name])

    def partition_of(self, name: str, iteration: str | None) -> str | None:
        """The partition of an asset that belongs to an iteration; None for the assets that have no partitions."""
        return None if name in UNPARTITIONED else iteration

    def table(self, name: str) -> dg.AssetIn:
        """An upstream table, handed to the asset as a frame."""
        return dg.AssetIn(key=self.key(name), input_manager_key=TABLES)

    def asset(
        self,
        *,
        group: Phase,
        kinds: set[str],
        tables: tuple[str, ...] = (),
        samples: bool = False,
        automated: bool = True,
        shows_so_far: bool = False,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """The decorator of every asset: its name and description are the function's, its upstream is in staleness.py.

        Args:
            group: phase of the method, whose assets are one band of the graph.
            kinds: at most ten technologies, shown as icons.
            tables: upstream tables that it gets as frames, in parameters of the same name. The rest of what is upstream
                it reads by itself, or only waits for.
            samples: a model writes text in it, so what is recorded of its making names engine and seed model.
            automated: rolls on by itself where automation is switched on.
            shows_so_far: does so even where its upstream is incomplete, or failed a check.
        """

        recorded = SAMPLING_SECTIONS if samples else ()
        condition = AUTOMATION_SO_FAR if shows_so_far else _automation(self.key("judge"))

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            name = function.__name__
            stage = stage_of(self.recipe, name)
            shown = self.recipe.assets
            sections = dict.fromkeys(setting.partition(".")[0] for setting in stage.settings)
            return dg.asset(
                key_prefix=self.recipe.key_prefix,
                group_name=shown.groups.get(group) or self.recipe.dagster_name(group),
                kinds=kinds,
                owners=shown.owners,
                tags=shown.tags,
                code_version=basis_of(self.recipe, name).code_version,
                metadata={SETTINGS: dg.MetadataValue.json(self.recipe.settings(*sections, *recorded))},
                deps=[self.key(upstream) for upstream in stage.made_of if upstream not in tables],
                ins={table: self.table(table) for table in tables},
                partitions_def=None if name in UNPARTITIONED else self.partitions,
                automation_condition=condition if automated and shown.automation != "none" else None,
                io_manager_key=TABLES,
            )(self._as_step(function, tables))

        return decorate

    def basis(self, name: str, iteration: str | None) -> Basis:
        """What an asset rests on if it is made now."""
        return required(self.recipe, self.layout, name, iteration)

    def _as_step(self, function: Callable[..., Any], tables: tuple[str, ...]) -> Callable[..., Any]:
        """Makes the asset alone, times it and records what it rests on; a user's mistake fails it with one sentence."""

        @functools.wraps(function)
        def step(*args: Any, **kwargs: Any) -> Any:
            context = dg.AssetExecutionContext.get()
            iteration = context.partition_key if context.has_partition_key else None
            with as_failed_step(), ExitStack() as until_stored:
                until_stored.callback(end_stage)
                self._begin(context, function.__name__, iteration)
                basis = self.basis(function.__name__, iteration)  # Before anything is read that could change meanwhile.
                given = {table: table_version(kwargs[table]) for table in tables}  # Dagster read these before.
                basis = basis.model_copy(update={"made_of": {**basis.made_of, **given}})
                started = time.monotonic()
                result = function(*args, **kwargs)
                made = {SECONDS: round(time.monotonic() - started, 2), **self._report_link(iteration)}
                made[BASIS] = basis.model_dump()
                if isinstance(result, dg.Output):  # The I/O manager sees what comes with the table, and nothing else.
                    made[DATA_VERSION] = result.data_version.value
                    until_stored.pop_all()  # The stage ends when the table is stored (assets/io_manager.py).
                    return result.with_metadata({**result.metadata, **made})
                return result._replace(metadata={**made, **result.metadata})

        return step

    def _begin(self, context: dg.AssetExecutionContext, name: str, iteration: str | None) -> None:
        """Sees that nobody else writes what is made now.

        Raises:
            UserError: somebody does, or the data folder belongs to another recipe.
        """
        end_with_run(context.instance, context.run_id)
        if name not in SHOWING:
            stage = f"`{name}`" if iteration is None else f"`{name}` of {iteration}"
            begin_stage(self.layout, name, iteration, f"{stage} in run {context.run_id}")
        claim(self.recipe, self.layout)

    def _report_link(self, iteration: str | None) -> dict[str, dg.MetadataValue]:
        """Where the report page shows an iteration. A path, since browsers follow no link from the UI to a file."""
        if iteration is None:
            return {}
        return {"report": dg.MetadataValue.path(f"{self.layout.report.absolute().as_uri()}#{iteration}")}


def table_output(frame: pl.DataFrame, rows_in: int, **metadata: Any) -> dg.Output[pl.DataFrame]:
    """A table with the account of its rows, as numbers that the UI plots per partition."""
    accounts = account(frame, rows_in)
    dropped = {f"dropped_{reason}": count for reason, count in accounts.dropped.items()}
    numbers = {"rows_in": accounts.rows_in, "rows_kept": accounts.kept, **dropped, **metadata}
    return dg.Output(frame, metadata=numbers, data_version=dg.DataVersion(table_version(frame)))


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that the next stage reads."""
    return frame.filter(pl.col("drop_reason").is_null())
