"""The I/O manager: tables of assets as Parquet files, which Dagster shows by their columns and a sample of rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from upath import UPath

from selftaught_assets.errors import UserError, of_the_environment
from selftaught_assets.method.prompts import PromptTemplateError
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.columns import describe, origins
from selftaught_assets.storage.tables import Provenance, read_table, write_table
from selftaught_assets.storage.writers import end_stage
from selftaught_assets.version import __version__

SETTINGS = "recipe"
"""Metadata of the definition of every asset: what the recipe says in the sections that it uses (`Recipe.settings`)."""

BASIS = "basis"
"""Metadata of every asset: what it rests on (`staleness.Basis`)."""

DATA_VERSION = "data_version"
"""Metadata of every table: its data version, which an I/O manager cannot ask Dagster for."""

SAMPLE_ROWS = 5
SAMPLE_CHARACTERS = 160


class TableIOManager(dg.UPathIOManager):
    """Stores a Polars frame as `<root>/<asset key>[/<partition>].parquet`, complete or absent."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:
        try:
            with as_failed_step():
                write_table(Path(path), obj, _provenance(context))
        finally:
            end_stage()  # It began in assets/family.py.

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        with as_failed_step():
            frame = read_table(Path(path))
            if frame is None:
                asset = context.asset_key.to_user_string()
                raise UserError(f"The table {path} does not exist: materialize `{asset}` first.")
            return frame

    def get_metadata(self, context: dg.OutputContext, obj: pl.DataFrame) -> dict[str, Any]:
        *prefix, asset = context.asset_key.path
        columns = [dg.TableColumn(name, str(dtype), describe(asset, name)) for name, dtype in obj.schema.items()]
        lineage = {
            name: [dg.TableColumnDep(dg.AssetKey([*prefix, table]), column) for table, column in origins(asset, name)]
            for name in obj.columns
        }
        rows = "dagster/partition_row_count" if context.has_partition_key else "dagster/row_count"
        return {
            rows: obj.height,
            "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
            "dagster/column_lineage": dg.MetadataValue.column_lineage(
                dg.TableColumnLineage({name: deps for name, deps in lineage.items() if deps})
            ),
            "sample": sample_rows(obj),
        }


def _provenance(context: dg.OutputContext) -> Provenance | None:
    """How a table was made; None where its asset belongs to no recipe."""
    settings = context.definition_metadata.get(SETTINGS)
    if settings is None:
        return None
    known = {name: value.value for name, value in context.output_metadata.items()}
    return Provenance(
        asset=context.asset_key.path[-1],
        recipe="/".join(context.asset_key.path[:-1]),
        partition=context.partition_key if context.has_partition_key else None,
        data_version=known.pop(DATA_VERSION, None),
        basis=Basis.model_validate(known.pop(BASIS)),
        settings=settings.value,
        run_id=context.run_id,
        made_at=datetime.now(UTC),
        software=__version__,
        numbers={name: value for name, value in known.items() if isinstance(value, int | float | str)},
    )


@contextmanager
def as_failed_step() -> Iterator[None]:
    """A user's mistake, or what the disk refuses, fails the step with its sentence."""
    try:
        yield
    except (UserError, PromptTemplateError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except OSError as error:
        if (refused := of_the_environment(error)) is None:
            raise
        raise dg.Failure(description=str(refused), allow_retries=False) from error


def sample_rows(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """The first kept rows as a table for the UI, long texts shortened."""
    kept = frame.filter(pl.col("drop_reason").is_null()) if "drop_reason" in frame.columns else frame
    head = kept.head(SAMPLE_ROWS).select(pl.all().exclude("messages"))
    records = [
        dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in head.iter_rows(named=True)
    ]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in head.columns])
    return dg.MetadataValue.table(records, schema)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= SAMPLE_CHARACTERS else text[: SAMPLE_CHARACTERS - 1] + "…"
