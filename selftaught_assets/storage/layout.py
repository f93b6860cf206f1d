"""Where a recipe's data is on disk."""

import os
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from selftaught_assets.errors import UserError
from selftaught_assets.paths import local_path
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.checkpoints import CURRENT


def default_data_root() -> Path:
    """`SELFTAUGHT_DATA`, or `data` in the current folder; `~` is one's home.

    Raises:
        UserError: there is no such home, or it is an address.
    """
    named = os.environ.get("SELFTAUGHT_DATA") or "data"
    try:
        return local_path(named, "SELFTAUGHT_DATA").expanduser().resolve()
    except RuntimeError:
        raise UserError(f"SELFTAUGHT_DATA is {named!r}, but there is no such user's home: name a folder.") from None


@dataclass(frozen=True)
class Layout:
    """The data folder of one recipe."""

    root: Path
    recipe: str
    """Its key prefix, with slashes: the place of its folder below the root."""
    journals: Path | str | None = None
    """A folder, or an address of fsspec's, instead of `journal` in the data folder."""

    @classmethod
    def of(cls, recipe: Recipe, root: Path | None = None) -> "Layout":
        """Where a recipe's data lies: below `root`, or below the default data folder."""
        place = default_data_root() if root is None else local_path(root, "The data folder")
        return cls(place, "/".join(recipe.key_prefix), recipe.journal)

    @property
    def folder(self) -> Path:
        return self.root / self.recipe

    def table(self, asset: str, partition: str | None = None) -> Path:
        """The Parquet file of an asset, or of one of its partitions."""
        return self.folder / (f"{asset}.parquet" if partition is None else f"{asset}/{partition}.parquet")

    @property
    def benchmark_items(self) -> Path:
        """What the benchmarks, which may be far away, held when they were read: a table of benchmark and item_id."""
        return self.folder / "benchmarks_read.parquet"

    @property
    def journal_root(self) -> Path | UPath:
        """The folder of the journal, one folder in it for each stage."""
        if isinstance(self.journals, str):
            return UPath(self.journals)
        return self.journals or self.folder / "journal"

    def journal(self, stage: str) -> Path | UPath:
        """The folder of the completions of one stage."""
        return self.journal_root / stage

    @property
    def seed_model(self) -> Path:
        """The file that says which model the seed is."""
        return self.folder / "seed_model.json"

    def judge(self, partition: str) -> Path:
        """The file that says which model judges an iteration."""
        return self.folder / "judge" / f"{partition}.json"

    def checkpoints(self, partition: str) -> Path:
        """The folder that holds the checkpoints of an iteration, one folder each."""
        return self.folder / "checkpoint" / partition

    def current_checkpoint(self, partition: str) -> Path:
        """The file, beside the checkpoints of an iteration, that names the current one."""
        return self.checkpoints(partition) / CURRENT

    @property
    def trials(self) -> Path:
        """The folder that remembers which model passed a trial of its training."""
        return self.folder / "trials"

    def promotions(self, partition: str) -> Path:
        """The folder, beside the checkpoints of an iteration, of what was decided about each."""
        return self.checkpoints(partition) / "promotion"

    def reviews(self, kind: str) -> Path:
        """The file with people's answers from reviewing rows of a table."""
        return self.folder / "reviews" / f"{kind}.jsonl"

    @property
    def report(self) -> Path:
        """The page that shows the recipe so far; `#iteration_NN` leads to an iteration, `#row=<id>` to a judgment."""
        return self.folder / "report" / "index.html"

    @property
    def validations(self) -> Path:
        """The folder with Great Expectations' results of the newest checks: a folder for each asset."""
        return self.folder / "validations"

    def validation(self, asset: str, partition: str | None) -> Path:
        """That of an asset, or of one of its partitions."""
        return self.validations / asset / f"{partition or 'asset'}.json"

    @property
    def data_docs(self) -> Path:
        """The folder of Great Expectations' own pages about these."""
        return self.folder / "data_docs"

    @property
    def owner(self) -> Path:
        """The file that says which recipe file made what lies here."""
        return self.folder / "owner.json"

    @property
    def run_lock(self) -> Path:
        """The file that `selftaught run` locks."""
        return self.folder / "run.lock"

    @property
    def stage_locks(self) -> Path:
        """The folder of the files that stages lock."""
        return self.folder / "locks"

    def stage_lock(self, asset: str, partition: str | None = None) -> Path:
        """The file that the stage of an asset, or of one of its partitions, locks."""
        return self.stage_locks / f"{asset if partition is None else f'{asset}.{partition}'}.lock"

    @property
    def progress(self) -> Path:
        """The file in which the stage that works now says how far it is."""
        return self.folder / "stage.json"

    @property
    def log(self) -> Path:
        """The standard error of the steps in runs from the terminal."""
        return self.folder / "run.log"
