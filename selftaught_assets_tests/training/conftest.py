"""The tiny model, its examples, and jobs on them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selftaught_assets.storage.checkpoints import base_of
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.training.job import TrainingJob
from selftaught_assets_tests.training import tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelReference:
    return reference_model(tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def tokenizer(base: ModelReference) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(base.base)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_examples(tmp_path_factory.mktemp("tables") / "filtered_set.parquet", tiny.judging_examples())


@pytest.fixture
def make_job(tmp_path: Path, base: ModelReference, examples: Path) -> Callable[..., TrainingJob]:
    """A job to run in this process, so its launcher is this process's parent."""

    def make(**changes: Any) -> TrainingJob:
        start = changes.get("start", base)
        values = {
            "recipe": "tiny",
            "iteration": "iteration_01",
            "start": start,
            "base_digest": base_of(start).digest,
            "examples": examples,
            "training_set_digest": "0" * 64,
            "settings": tiny.SETTINGS,
            "seed": 3,
            "destination": tmp_path / "checkpoints" / "one",
            "progress": tmp_path / "stage.json",
            "failure": tmp_path / "failure.txt",
            "parent": os.getppid(),
        }
        return TrainingJob(**values | changes)

    return make
