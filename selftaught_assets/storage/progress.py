"""How far the stage that works now is, in a file that any process can read.

Belongs here: the message and its file. Not here: how it is shown (cli) or logged (assets).
"""

import json
from pathlib import Path
from typing import NamedTuple

from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.schema import FIRST, SCHEMA_VERSION, require_readable


class StageProgress(NamedTuple):
    """`done` of `total` units (completions, steps) of a stage; `rate` is in `rate_unit` per second."""

    stage: str
    iteration: str | None
    done: int
    total: int
    rate: float
    rate_unit: str
    seconds_left: float | None

    def sentence(self) -> str:
        """The progress as one line for a log."""
        place = f"{self.stage} {self.iteration}" if self.iteration else self.stage
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"{place}: {self.done:,} of {self.total:,}, {self.rate:,.0f} {self.rate_unit}/s{left}"


def write_progress(path: Path, progress: StageProgress) -> None:
    """Replaces the message."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps({SCHEMA_VERSION: FIRST} | progress._asdict()), encoding="utf-8")


def read_progress(path: Path) -> StageProgress | None:
    """The newest message; None if there is none.

    Raises:
        UserError: a newer release writes it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    require_readable(content, FIRST, path)
    return StageProgress(**{name: content[name] for name in StageProgress._fields})
