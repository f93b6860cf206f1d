"""Which engine a recipe means. Belongs here: the one place that knows the engines by name."""

from collections.abc import Iterator
from contextlib import contextmanager

from selftaught_assets.engine_settings import EngineSettings, TransformersSettings
from selftaught_assets.engines.protocol import Engine
from selftaught_assets.storage.models import ModelReference


@contextmanager
def open_engine(settings: EngineSettings, model: ModelReference) -> Iterator[Engine]:
    """Loads the model for sampling; at the end of the block its memory is free again (DESIGN rule 6).

    Raises:
        UserError: the model cannot be loaded, the device is not there, or the engine's package is not installed.
    """
    engine = _load(settings, model)
    try:
        yield engine
    finally:
        engine.close()


def _load(settings: EngineSettings, model: ModelReference) -> Engine:
    match settings:
        case TransformersSettings():
            from selftaught_assets.engines.transformers_engine import load_engine

            return load_engine(settings, model)
