"""Rows of the tables of one recipe, found by their ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.lineage.schema import Made
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import Provenance, read_provenance

Row = dict[str, Any]


class Query(NamedTuple):
    """Rows of one table."""

    asset: str
    iteration: str | None
    where: pl.Expr
    columns: tuple[str, ...]
    """Those that the table lacks are null in the rows."""


@dataclass
class Tables:
    """The tables of a data folder; records which of them were read."""

    layout: Layout
    only: str | None = None
    """One iteration, where no other is to be read."""
    _made: dict[tuple[str, str | None], Provenance | None] = field(default_factory=dict)
    _read: dict[tuple[str, str | None], Path] = field(default_factory=dict)

    def iterations(self, asset: str) -> list[str]:
        """The iterations for which there is a table."""
        found = sorted(path.stem for path in (self.layout.folder / asset).glob("iteration_*.parquet"))
        return [iteration for iteration in found if self.only in (None, iteration)]

    def rows(self, queries: Sequence[Query], *, at_most: int | None = None) -> list[list[Row]]:
        """The rows of each query, in the order of the table; none where there is no table.

        Args:
            queries: what is wanted; they are answered together.
            at_most: only the first rows in ascending order, each once, if not all are wanted.

        Raises:
            UserError: a table is damaged.
        """
        scans = {}
        for place, query in enumerate(queries):
            scan = self.scan(query.asset, query.iteration)
            if scan is None:
                continue
            present = scan.collect_schema().names()
            scan = scan.filter(query.where).select(name for name in query.columns if name in present)
            scans[place] = scan if at_most is None else scan.unique().sort(pl.all()).head(at_most)
        frames = dict(zip(scans, self.collect(list(scans.values())), strict=True))
        return [
            [dict.fromkeys(query.columns) | row for row in frames[place].iter_rows(named=True)]
            if place in frames
            else []
            for place, query in enumerate(queries)
        ]

    def in_iterations(
        self, asset: str, where: pl.Expr, columns: tuple[str, ...], iterations: Iterable[str] | None = None
    ) -> dict[str, list[Row]]:
        """The rows of a partitioned table, by iteration."""
        keys = [key for key in self.iterations(asset) if iterations is None or key in iterations]
        return dict(zip(keys, self.rows([Query(asset, key, where, columns) for key in keys]), strict=True))

    def made(self, asset: str, iteration: str | None = None) -> Provenance | None:
        """How a table was made; None where there is no table, or it does not say."""
        key = asset, iteration
        if key not in self._made:
            self._made[key] = read_provenance(self.layout.table(asset, iteration))
        return self._made[key]

    def settings(self, asset: str, iteration: str | None, *names: str) -> Any:
        """What the recipe said when a table was made, at a path of names; None where that is not known."""
        made = self.made(asset, iteration)
        value: Any = None if made is None else made.settings
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def read(self) -> list[Made]:
        """How the tables were made that were read so far."""
        return [_as_json(*key, path, self.made(*key)) for key, path in self._read.items()]

    def scan(self, asset: str, iteration: str | None) -> pl.LazyFrame | None:
        """A table that nothing is read of yet; None where there is none.

        Raises:
            UserError: it is no Parquet file.
        """
        path = self.layout.table(asset, iteration)
        if not path.is_file():
            return None
        self._read[asset, iteration] = path
        scan = pl.scan_parquet(path, glob=False)
        try:
            scan.collect_schema()
        except pl.exceptions.PolarsError:
            raise UserError(f"The table {path} is damaged: materialize it again.") from None
        return scan

    def collect(self, scans: list[pl.LazyFrame]) -> list[pl.DataFrame]:
        """The results of several scans, which share the processors.

        Raises:
            UserError: a table is damaged in the middle, or lacks a column that it is searched by.
        """
        try:
            return pl.collect_all(scans, engine="streaming")
        except pl.exceptions.PolarsError as error:
            first, folder = str(error).splitlines()[0], self.layout.folder
            damaged = not isinstance(error, pl.exceptions.ColumnNotFoundError)
            what = "is damaged" if damaged else "was written by another version"
            raise UserError(f"A table in {folder} {what} ({first}): materialize it again.") from None


def _as_json(asset: str, iteration: str | None, path: Path, made: Provenance | None) -> Made:
    return {
        "asset": asset,
        "iteration": iteration,
        "path": str(path),
        "data_version": made and made.data_version,
        "code_version": made and made.basis.code_version,
        "run_id": made and made.run_id,
        "made_at": made and made.made_at.isoformat(),
        "made_of": made.basis.made_of if made else {},
        "settings": made and made.settings,
    }
