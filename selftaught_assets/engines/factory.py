"""Which engine a recipe means. Belongs here: the one place that knows the engines by name."""

from collections.abc import Iterator
from contextlib import contextmanager

from selftaught_assets.engines.protocol import Engine
from selftaught_assets.engines.transformers_engine import load_engine
from selftaught_assets.recipe import Engine as EngineSettings
from selftaught_assets.storage.models import ModelReference


@contextmanager
def open_engine(settings: EngineSettings, model: ModelReference) -> Iterator[Engine]:
    """Loads the model for sampling; at the end of the block its memory is free again (DESIGN rule 6).

    Raises:
        UserError: the model cannot be loaded, or the device is not there.
    """
    engine = load_engine(settings, model)
    try:
        yield engine
    finally:
        engine.close()
