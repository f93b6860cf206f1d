"""Where a recipe's data lies on disk.

Belongs here: every path below the data folder. Not here: what is in the files.
"""

import os
from dataclasses import dataclass
from pathlib import Path


def default_data_root() -> Path:
    """`SELFTAUGHT_DATA`, or `data` in the current folder."""
    return Path(os.environ.get("SELFTAUGHT_DATA") or "data").resolve()


@dataclass(frozen=True)
class Layout:
    """The data folder of one recipe."""

    root: Path
    recipe: str

    @property
    def folder(self) -> Path:
        return self.root / self.recipe

    def table(self, asset: str, partition: str | None = None) -> Path:
        """The Parquet file of an asset, or of one of its partitions."""
        return self.folder / (f"{asset}.parquet" if partition is None else f"{asset}/{partition}.parquet")

    def journal(self, stage: str) -> Path:
        """The folder of the completions of one stage."""
        return self.folder / "journal" / stage

    def judge(self, partition: str) -> Path:
        """The file that says which model judges an iteration."""
        return self.folder / "judge" / f"{partition}.json"

    def checkpoints(self, partition: str) -> Path:
        """The folder that holds the checkpoints of an iteration, one folder each."""
        return self.folder / "checkpoint" / partition

    def promotions(self, partition: str) -> Path:
        """The folder, beside the checkpoints of an iteration, of what was decided about each."""
        return self.checkpoints(partition) / "promotion"

    @property
    def progress(self) -> Path:
        """The file in which the stage that works now says how far it is."""
        return self.folder / "stage.json"

    @property
    def log(self) -> Path:
        """What the steps of runs from the terminal write to standard error."""
        return self.folder / "run.log"
