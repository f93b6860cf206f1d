"""What crosses from the asset to the training process and back, and the key that names its result."""

import importlib.metadata
import signal
from datetime import date as Date
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.recipe.stages import Training
from selftaught_assets.staleness import TRAINING_CODE
from selftaught_assets.storage.models import ModelReference

SOURCE = Path(__file__).resolve().parents[2]
"""Where the training process finds this package."""
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate")


class TrainingJob(BaseModel):
    """One training, as JSON on the process's command line. All paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    iteration: str
    start: ModelReference
    """The base model, or a judge whose adapter is trained on."""
    base_digest: str
    examples: Path
    """Parquet file of the filtered set."""
    training_set_digest: str
    settings: Training
    seed: int
    date: Date = TEMPLATE_DATE
    """What a chat template that asks for the date is told."""
    destination: Path
    """The checkpoint folder to appear."""
    progress: Path
    """File that says how far training is."""
    failure: Path
    """File for one sentence: a UserError's own, or the last line of any other error. An exit code tells neither."""
    parent: int
    """Process id of the launcher: training ends when the launcher is gone."""

    @property
    def training_key(self) -> str:
        """Digest of all that determines the result."""
        return training_key(self.start, self.training_set_digest, self.settings, self.seed, self.date)

    def why_it_failed(self, code: int) -> str:
        """One sentence about a process of this job that ended with an exit code, or by a signal (below 0)."""
        if self.failure.is_file() and (said := self.failure.read_text(encoding="utf-8")):  # Nothing on a full disk.
            return said
        if code == -signal.SIGKILL:
            return (
                f"The training of {self.recipe} {self.iteration} was killed, most often because memory ran out: free "
                "memory, or set a smaller training.max_tokens, and run it again."
            )
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"The training of {self.recipe} {self.iteration} ended {ended}; see the log of the step."


def package_versions() -> dict[str, str]:
    """Of the Python packages that take part in a training."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def training_key(
    start: ModelReference, training_set_digest: str, settings: Training, seed: int, date: Date = TEMPLATE_DATE
) -> str:
    """Digest of all that determines a checkpoint's weights, the version of the code that trains among it."""
    settings_now = settings.model_dump(mode="json")
    return digest("training", TRAINING_CODE, start.digest, training_set_digest, settings_now, seed, date.isoformat())
