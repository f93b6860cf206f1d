"""The openai engine on a scripted server: fixtures and helpers of its tests, no tests here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.openai import client as openai_client
from selftaught_assets.engines.openai.engine import OpenAIEngine
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import OpenAISettings
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.scripted_server import (
    ScriptedServer,
    serving,
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> ModelReference:
    return reference_model(model_folder)


def settings(address: str, **fields: object) -> OpenAISettings:
    given = {"model": "tiny", "identity": "tiny-1", "attempts": 3, "timeout_seconds": 10, "max_rows": 8}
    return OpenAISettings(name="openai", address=address, **(given | fields))


@pytest.fixture
def opened(model: ModelReference) -> Iterator[Callable[..., tuple[OpenAIEngine, ScriptedServer]]]:
    """An engine on a server with a script."""
    with ExitStack() as stack:

        def open_on(server: ScriptedServer, model: ModelReference = model, **fields: object):
            stack.enter_context(serving(server))
            return stack.enter_context(open_engine(settings(server.address, **fields), model)), server

        yield open_on


def refuses(server: ScriptedServer, model: ModelReference, **fields: object) -> str:
    """The sentence with which the engine does not start on a server."""
    with serving(server), pytest.raises(UserError) as caught, open_engine(settings(server.address, **fields), model):
        pass
    return the_sentence(caught.value)


def the_sentence(error: UserError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def threads_of_the_engine() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("openai")]
