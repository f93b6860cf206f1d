"""The openai engine on a server that misbehaves for a while, or finds a prompt too long."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from selftaught_assets.engines.openai import client as openai_client
from selftaught_assets.engines.openai.client import overflow
from selftaught_assets_tests.engines.conftest import by_sample, request
from selftaught_assets_tests.engines.scripted_server import (
    Asked,
    Reply,
    ScriptedServer,
    in_turn,
    listing,
)

# Tries and pauses.


ONCE = [
    Reply(503, said="busy"),
    Reply(500),
    Reply(502, body=b"<html>Bad gateway</html>"),
    Reply(408, said="late"),
    Reply(429, said="slow down"),
    Reply(breaks=True),
    Reply(after=1.0),
    Reply(body=b"not JSON"),
    Reply(body={"choices": []}),
    Reply(body={"choices": [{"text": "", "finish_reason": "abort"}], "usage": {}}),
]


@pytest.mark.parametrize("trouble", ONCE, ids=lambda reply: f"{reply.status}-{reply.said or reply.body}")
def test_a_trouble_that_passes_costs_another_try(opened, trouble: Reply) -> None:
    engine, server = opened(ScriptedServer(in_turn(trouble, trouble)), timeout_seconds=0.4)
    (found,) = engine.generate([request("abc")])
    assert (found.finish_reason, found.error) == ("stop", None)
    assert [asked.body for asked in server.completions()] == [server.completions()[0].body] * 3


def _seconds_from_now(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("wanted", [lambda: "0.5", lambda: _seconds_from_now(2)], ids=["seconds", "date"])
def test_the_server_is_left_alone_as_long_as_it_wants(opened, wanted: Callable[[], str]) -> None:
    """Also by the requests that it did not turn down."""

    def script(asked: Asked) -> Reply:
        first = asked is server.completions()[0]
        return Reply(429, said="slow down", headers=(("Retry-After", wanted()),)) if first else Reply(after=0.1)

    server = ScriptedServer(script)
    engine, _ = opened(server, max_rows=2)
    assert len(list(engine.generate([request("abc", n=8)]))) == 8
    first, second, *others = [asked.at for asked in server.completions()]
    assert second - first < 0.3  # It was under way.
    assert others[0] - first > 0.5
    assert len(others) == 7


@pytest.mark.parametrize("wanted", ["86400", "inf", "-5", "nan", "soon", ""])
def test_a_pause_has_a_limit(opened, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(openai_client, "LONGEST_PAUSE", 0.1)
    engine, _ = opened(ScriptedServer(in_turn(Reply(503, headers=(("Retry-After", wanted),)))))
    started = time.monotonic()
    (found,) = engine.generate([request("abc")])
    assert found.finish_reason == "stop"
    assert time.monotonic() - started < 60


def test_pauses_grow(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.02)
    engine, server = opened(ScriptedServer(in_turn(*[Reply(503)] * 6)), attempts=7, max_rows=1)
    list(engine.generate([request("abc", n=1)]))
    times = [asked.at for asked in server.completions()]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == 6
    assert all(pause <= 0.02 * 2**number + 0.25 for number, pause in enumerate(pauses))
    assert sum(pauses) > 0.05


# A prompt that is too long.


def test_a_prompt_that_leaves_no_room_in_the_context_is_not_asked(opened) -> None:
    engine, server = opened(ScriptedServer(models=Reply(body=listing("tiny", max_model_len=16))))
    asked_for = [request("x" * 16, name="long", n=2), request("x" * 12, name="nearly", max_tokens=9)]
    found = by_sample(engine.generate(asked_for))
    assert found["long", 0][2:] == ("", "prompt_too_long", 16, 0, 0, None)
    assert found["long", 1].finish_reason == "prompt_too_long"
    assert found["nearly", 0].finish_reason == "stop"
    assert [asked.body["max_tokens"] for asked in server.completions()] == [4]


TOO_LONG = [
    "This model's maximum context length is 40 tokens. However, your prompt contains 60 input tokens, which exceeds "
    "this limit even without any output tokens. Please reduce the length of the input prompt.",
    "This model's maximum context length is 40 tokens. However, your messages resulted in 60 tokens.",
    "The input (60 tokens) is longer than the model's context length (40 tokens).",
    "the request exceeds the available context size, try increasing it",
    "Input validation error: `inputs` must have less than 40 tokens. Given: 60",
    "prompt is too long: 60 tokens > 40 maximum",
    "The input token count (60) exceeds the maximum number of tokens allowed (40).",
    "Error code: context_length_exceeded",
]


@pytest.mark.parametrize("said", TOO_LONG)
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_that_says_so_tells_that_a_prompt_is_too_long(opened, said: str, api: str) -> None:
    server = ScriptedServer(lambda asked: Reply(400, said=said))
    engine, _ = opened(server, api=api)
    (found,) = engine.generate([request("x" * 60)])
    assert found[2:] == ("", "prompt_too_long", 60, 0, 0, None)
    assert len(server.completions()) == 1


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 40 tokens. However, you requested 532 tokens (20 in the prompt; 512 "
        "for the completion).",
        "Requested token count exceeds the model's maximum context length of 40 tokens. You requested a total of 532 "
        "tokens: 20 tokens from the input messages and 512 tokens for the completion.",
    ],
)
def test_a_completion_that_has_no_room_is_asked_for_again_within_the_context(opened, said: str) -> None:
    server = ScriptedServer(lambda asked: Reply(400, said=said) if asked.body["max_tokens"] > 20 else Reply())
    engine, _ = opened(server)
    (found,) = engine.generate([request("x" * 20)])
    assert found.finish_reason == "stop"
    assert [asked.body["max_tokens"] for asked in server.completions()] == [512, 20]


def test_in_a_chat_the_server_counts_the_prompt(opened) -> None:
    """Its template may be shorter than ours."""
    models = Reply(body=listing("tiny", max_model_len=40))
    engine, server = opened(ScriptedServer(models=models), api="chat")
    prompt = engine.render([{"role": "user", "content": "x" * 30}])
    assert len(prompt.token_ids) > 40
    (found,) = engine.generate([replace(request(), prompt=prompt)])
    assert found.finish_reason == "stop"
    server.script = lambda asked: Reply(400, said="max_tokens must be at least 1, got 0.")
    (found,) = engine.generate([replace(request(), prompt=prompt)])
    assert found.finish_reason == "prompt_too_long"


@pytest.mark.parametrize("said", ["stop: at most 4 strings", "You exceeded your quota of tokens", "bad seed"])
def test_other_refusals_are_not_about_length(said: str) -> None:
    assert overflow(400, said) is None
    assert overflow(500, TOO_LONG[0]) is None
