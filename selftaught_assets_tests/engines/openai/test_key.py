"""The key of the openai engine: in the header of requests to the recipe's address, and nowhere else."""

import logging
import traceback
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import Journal
from selftaught_assets_tests.engines.openai.conftest import refuses, settings
from selftaught_assets_tests.engines.scripted_server import (
    Reply,
    ScriptedServer,
    serving,
)

KEY = "sk-planted-5f2c"


def test_the_key_goes_into_the_header_and_nowhere_else(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server repeats it wherever it can."""
    monkeypatch.setenv("MY_KEY", KEY)
    refusal = Reply(400, said=f"Bearer {KEY} asked for nonsense")
    server = ScriptedServer(lambda asked: refusal if asked.body["seed"] % 3 == 1 else Reply())
    seen: list[object] = []
    with caplog.at_level(logging.DEBUG), serving(server):
        mine = settings(server.address, key_variable="MY_KEY")
        with open_engine(mine, model) as engine:
            tasks = [GenerationTask("a", [{"role": "user", "content": "x"}], n=30, seed=1)]
            frame = generate(engine, Journal(tmp_path), tasks, SamplingParameters(), lambda progress: None).frame
            seen += [mine, mine.model_dump(), engine, vars(engine), vars(engine._server).keys(), engine.identity, frame]
        for trouble in (Reply(401, said=f"wrong key {KEY}"), Reply(500, said=KEY)):
            server.models = trouble
            with pytest.raises(UserError) as caught, open_engine(mine, model):
                pass
            seen.append("".join(traceback.format_exception(caught.value)))
    assert "failed" in frame["finish_reason"].to_list()
    assert frame["error"].drop_nulls()[0].endswith("status 400: Bearer [key] asked for nonsense.")
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert all(KEY not in str(asked.body) and KEY not in asked.path for asked in server.asked)
    assert KEY not in "\n".join(map(repr, seen))
    assert KEY not in caplog.text
    assert caplog.records
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY not in str(pl.read_parquet(path).to_dicts()) if path.suffix == ".parquet" else True
        assert KEY.encode() not in path.read_bytes()


def test_without_a_key_no_header_is_sent(opened) -> None:
    _, server = opened(ScriptedServer())
    assert all("Authorization" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_with_the_key(model, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(ScriptedServer()) as elsewhere:
        away = Reply(status, headers=(("Location", f"{elsewhere.address}/{KEY}?x=1"),))
        server = ScriptedServer(models=away)
        sentence = refuses(server, model)
    assert sentence == (
        f"{server.address}/models redirects to {elsewhere.address}/[key]: give the address itself as `engine.address`."
    )
    assert elsewhere.asked == []


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "tab\there"])
def test_what_cannot_be_a_key_is_not_sent(model, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    sentence = refuses(server := ScriptedServer(), model)
    assert sentence.startswith("The environment variable OPENAI_API_KEY holds something that cannot be a key")
    assert key not in sentence
    assert server.asked == []


def test_an_address_with_a_password_is_no_address() -> None:
    with pytest.raises(ValidationError):
        settings(f"http://user:{KEY}@127.0.0.1/v1")
