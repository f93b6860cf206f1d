"""What all tests of the ray engine have: one thread, a model, and what it samples where nothing disturbs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selftaught_assets.engines.journalled import Generated
from selftaught_assets.storage.journal import MemoryJournal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.ray.sampled import ALONE, sampled


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the actors have it: with more, matrix products round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> ModelReference:
    return reference_model(model_folder)


@pytest.fixture(scope="module")
def undisturbed(model: ModelReference) -> Generated:
    return sampled(ALONE, model, MemoryJournal())
