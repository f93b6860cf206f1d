"""The training process: `python -m selftaught_assets.training <job as JSON>`, started through Dagster Pipes."""

import os
import sys
import traceback
from types import TracebackType

from dagster_pipes import open_dagster_pipes

from selftaught_assets.errors import UserError
from selftaught_assets.startup import import_quickly
from selftaught_assets.training.job import TrainingJob

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""No network, no telemetry, no progress bars in logs."""
PACKAGES = ("transformers.models.auto.modeling_auto", "datasets", "peft", "trl.trainer.sft_trainer")


def main(argument: str) -> int:
    os.environ.update(QUIET)
    job = TrainingJob.model_validate_json(argument)
    _leave_the_last_line(job)
    import_quickly(*PACKAGES)
    from selftaught_assets.training.fine_tune import fine_tune

    with open_dagster_pipes() as pipes:
        try:
            fine_tune(job, pipes.log)
        except UserError as error:
            job.failure.write_text(str(error), encoding="utf-8")
            return 1
    return 0


def _leave_the_last_line(job: TrainingJob) -> None:
    """Whatever ends this process as an error, its last line goes where the launcher finds it."""

    def leave(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = " ".join(traceback.format_exception_only(error)[-1].split())
        job.failure.write_text(
            f"The training of {job.recipe} {job.iteration} failed: {line} (the log of the step has the traceback).",
            encoding="utf-8",
        )
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = leave


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
