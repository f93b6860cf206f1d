"""Adapters on a server: put there, found there, or missing."""

import time
from pathlib import Path

import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.storage.models import ModelReference
from selftaught_assets_tests.engines.conftest import request
from selftaught_assets_tests.engines.openai.conftest import refuses, settings
from selftaught_assets_tests.engines.scripted_server import (
    Reply,
    ScriptedServer,
    serving,
)


@pytest.fixture
def adapted(model: ModelReference, tmp_path: Path) -> ModelReference:
    """As the engine sees an adapter: a folder with a name by content."""
    return ModelReference(model.base, tmp_path, "0123456789abcdef" * 4)


NAME = "0123456789abcdef"


def test_an_adapter_is_loaded_under_its_digest_and_taken_away_at_the_end(opened, adapted) -> None:
    with serving(ScriptedServer()) as server:
        with open_engine(settings(server.address), adapted) as engine:
            list(engine.generate([request("abc")]))
            assert server.paths() == ["models", "load_lora_adapter", "completions", "completions"]
        assert server.paths()[4:] == ["unload_lora_adapter"]
    assert server.asked[1].body == {"lora_name": NAME, "lora_path": str(adapted.adapter)}
    assert [asked.body["model"] for asked in server.asked[2:4]] == [NAME, NAME]
    assert server.asked[4].body == {"lora_name": NAME}


def test_an_adapter_that_is_there_already_stays_there(adapted) -> None:
    there = Reply(400, said=f"The lora adapter '{NAME}' has already been loaded. If you want to load it in place, …")
    with serving(ScriptedServer(adapters=there)) as server:
        with open_engine(settings(server.address), adapted) as engine:
            assert len(list(engine.generate([request("abc")]))) == 1
        assert "unload_lora_adapter" not in server.paths()


def test_an_adapter_that_has_its_name_there_is_only_asked_for(adapted) -> None:
    with serving(ScriptedServer()) as server:
        with open_engine(settings(server.address, adapters="named"), adapted):
            pass
        assert server.paths() == ["models", "completions"]
        assert server.asked[1].body["model"] == NAME


@pytest.mark.parametrize(
    ("fields", "replies", "sentence"),
    [
        ({}, {"adapters": Reply(404, said="Not Found")}, "did not load the adapter {folder} ("),
        ({}, {"adapters": Reply(400, said="no LoRA")}, "did not load the adapter {folder} (the server refused"),
        ({"adapters": "named"}, {"trial": Reply(404)}, f"does not have the adapter {{folder}} under the name {NAME}"),
    ],
)
def test_an_adapter_that_cannot_be_reached_is_said_at_once(adapted, fields, replies, sentence) -> None:
    assert sentence.format(folder=adapted.adapter) in refuses(ScriptedServer(**replies), adapted, **fields)


def test_an_adapter_does_not_stay_where_the_trial_fails(adapted) -> None:
    server = ScriptedServer(trial=Reply(400, said="no"))
    refuses(server, adapted)
    assert server.paths() == ["models", "load_lora_adapter", "completions", "unload_lora_adapter"]


def test_a_server_that_is_gone_at_the_end_is_no_trouble(adapted) -> None:
    with serving(ScriptedServer()) as server:
        opened = open_engine(settings(server.address, attempts=50), adapted)
        opened.__enter__()
    started = time.monotonic()
    opened.__exit__(None, None, None)
    assert time.monotonic() - started < 60
