"""The openai engine against a server that misbehaves on schedule, over real sockets."""

import logging
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from selftaught_assets.engine_settings import OpenAISettings
from selftaught_assets.engines import openai_client
from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.engines.openai_engine import OpenAIEngine
from selftaught_assets.engines.openai_messages import overflow, sample_seed
from selftaught_assets.engines.protocol import Completion, SamplingParameters
from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets_tests.engines.conftest import by_sample, byte_ids, request
from selftaught_assets_tests.engines.scripted_server import (
    Asked,
    Reply,
    ScriptedServer,
    completion,
    in_turn,
    listing,
    serving,
)

KEY = "sk-planted-5f2c"


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
    return _sentence(caught.value)


def _sentence(error: UserError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def threads_of_the_engine() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("openai")]


# What is asked.


def test_every_sample_is_a_request_with_a_seed_of_its_own(opened) -> None:
    engine, server = opened(ScriptedServer())
    asked_for = request("abc", n=5, seed=3, temperature=0.5, top_p=0.8, max_tokens=17, stop=("\n\n", "END"))
    found = by_sample(engine.generate([asked_for]))
    seeds = {index: sample_seed(asked_for, index) for index in range(5)}
    assert {key[1]: c.text for key, c in found.items()} == {index: f"seed {seed}" for index, seed in seeds.items()}
    assert len(set(seeds.values())) == 5
    assert max(seeds.values()) < 2**63
    for asked in server.completions():
        assert asked.body.pop("seed") in seeds.values()
        assert asked.body == {
            "model": "tiny",
            "prompt": byte_ids("abc"),
            "n": 1,
            "temperature": 0.5,
            "top_p": 0.8,
            "max_tokens": 17,
            "stop": ["\n\n", "END"],
        }


def test_a_sample_has_the_same_seed_whatever_is_asked_beside_it(opened) -> None:
    engine, server = opened(ScriptedServer())
    list(engine.generate([request("abc", seed=2**63 + 5, n=3), request("x", seed=1)]))
    before = {asked.body["seed"] for asked in server.completions()}
    list(engine.generate([request("abc", seed=2**63 + 5, n=2)]))
    assert {asked.body["seed"] for asked in server.completions()[4:]} < before


def test_vllm_is_kept_to_the_recipe(opened, tokenizer) -> None:
    """Its own defaults come from the model's generation_config.json."""
    engine, server = opened(ScriptedServer(models=Reply(body=listing("tiny", owned_by="vllm"))))
    list(engine.generate([request("abc")]))
    (asked,) = server.completions()
    extras = {"stop_token_ids": [tokenizer.eos_token_id], "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    extras["return_token_ids"] = True
    assert {name: asked.body[name] for name in extras} == extras


def test_chat_sends_the_messages(opened) -> None:
    engine, server = opened(ScriptedServer(), api="chat")
    messages = [{"role": "user", "content": "<|im_end|> é"}]
    prompt = engine.render(messages)
    (found,) = engine.generate([replace(request(), prompt=prompt)])
    (asked,) = server.completions()
    assert asked.path == "/v1/chat/completions"
    assert asked.body["messages"] == messages
    assert "prompt" not in asked.body
    assert found.text == f"seed {asked.body['seed']}"
    assert found.prompt_tokens == 11  # The server's template decides.


def test_an_empty_prompt_is_asked_as_its_stand_in_and_counts_no_tokens(opened, tokenizer) -> None:
    engine, server = opened(ScriptedServer())
    (found,) = engine.generate([request("")])
    (asked,) = server.completions()
    assert asked.body["prompt"] == [tokenizer.eos_token_id]
    assert (found.prompt_tokens, found.completion_tokens) == (0, 7)


def test_what_the_servers_cache_spared_is_known(opened) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
    engine, _ = opened(ScriptedServer(lambda asked: Reply(body=completion(asked) | {"usage": usage})))
    (found,) = engine.generate([request("abc")])
    assert found == Completion("r", 0, found.text, "stop", 3, 1, 2)


def test_a_stop_string_that_the_server_leaves_in_is_cut(opened) -> None:
    engine, _ = opened(ScriptedServer(lambda asked: Reply(body=completion(asked, text="yes END no"))))
    (found,) = engine.generate([request("abc", stop=("END",))])
    assert found.text == "yes "


def test_where_the_server_tells_the_tokens_they_are_the_text(opened, tokenizer) -> None:
    ids = [*byte_ids("é🦉 END"), tokenizer.eos_token_id]
    engine, _ = opened(ScriptedServer(lambda asked: Reply(body=completion(asked, text=" \ufffd", token_ids=ids))))
    (found,) = engine.generate([request("abc")])
    assert found.text == "é🦉 END"
    (found,) = engine.generate([request("abc", stop=("END",))])
    assert found.text == "é🦉 "


def test_identity_is_of_the_weights_and_of_what_the_recipe_says_is_served(opened, model) -> None:
    engine, _ = opened(ScriptedServer())
    elsewhere, _ = opened(ScriptedServer(), key_variable="OTHER_KEY", max_rows=2)
    assert engine.model_digest == model.digest
    assert engine.identity == elsewhere.identity != model.digest
    others = [
        opened(ScriptedServer(), identity="tiny-2")[0],
        opened(ScriptedServer(), api="chat")[0],
        opened(ScriptedServer(), model=ModelReference(model.base, None, "other"))[0],
    ]
    assert len({engine.identity, *(other.identity for other in others)}) == 4


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
    assert time.monotonic() - started < 5


def test_pauses_grow(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.02)
    engine, server = opened(ScriptedServer(in_turn(*[Reply(503)] * 6)), attempts=7, max_rows=1)
    list(engine.generate([request("abc", n=1)]))
    times = [asked.at for asked in server.completions()]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == 6
    assert all(pause <= 0.02 * 2**number + 0.25 for number, pause in enumerate(pauses))
    assert sum(pauses) > 0.05


# A request that fails.


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (Reply(503, said="the model is asleep"), "The server answered with status 503: the model is asleep."),
        (Reply(after=1.0), "The server did not answer within 0.3 seconds."),
        (Reply(breaks=True), "The connection to the server broke ("),
        (Reply(body=b"<html>"), "The server's answer cannot be read: Expecting value"),
    ],
    ids=["status", "time-out", "broken", "unreadable"],
)
def test_a_request_that_never_succeeds_is_a_failed_completion_with_the_reason(opened, trouble: Reply, error) -> None:
    poison = sample_seed(request("abc", n=6), 2)
    server = ScriptedServer(lambda asked: trouble if asked.body["seed"] == poison else Reply())
    engine, _ = opened(server, timeout_seconds=0.3)
    found = by_sample(engine.generate([request("abc", n=6)]))
    assert [found["r", index].finish_reason for index in range(6)] == ["stop"] * 2 + ["failed"] + ["stop"] * 3
    assert found["r", 2].error.startswith(error)
    assert found["r", 2].error.endswith(".")
    assert found["r", 2][2:7] == ("", "failed", 3, 0, 0)
    assert sum(asked.body["seed"] == poison for asked in server.completions()) == 3


def test_a_request_that_the_server_refuses_fails_at_once(opened) -> None:
    poison = sample_seed(request("abc", n=6), 2)
    refusal = Reply(400, said="I will not say that.")
    engine, server = opened(ScriptedServer(lambda asked: refusal if asked.body["seed"] == poison else Reply()))
    found = by_sample(engine.generate([request("abc", n=6)]))
    assert found["r", 2].error == "The server refused the request with status 400: I will not say that."
    assert sum(completion.finish_reason == "failed" for completion in found.values()) == 1
    assert sum(asked.body["seed"] == poison for asked in server.completions()) == 1


def test_a_request_alone_is_to_blame_if_the_server_answers_another(opened) -> None:
    ours = byte_ids("abc")
    engine, server = opened(ScriptedServer(lambda asked: Reply(500) if asked.body["prompt"] == ours else Reply()))
    (found,) = engine.generate([request("abc", max_tokens=9)])
    assert found.finish_reason == "failed"
    assert [asked.body["prompt"] == ours for asked in server.completions()] == [True] * 3 + [False]
    assert server.completions()[-1].body["max_tokens"] == 9


def test_the_other_request_has_to_fit_as_well(opened) -> None:
    """Some servers refuse a completion that could outgrow the context, so the trial is asked again within it."""

    def script(asked: Asked) -> Reply:
        if asked.body["prompt"] == byte_ids("abc"):
            return Reply(400, said="I will not say that.")
        room = 40 - len(asked.body["prompt"])
        said = "This model's maximum context length is 40 tokens, but you want more."
        return Reply(400, said=said) if asked.body["max_tokens"] > room else Reply()

    engine, server = opened(ScriptedServer(script))
    (found,) = engine.generate([request("abc")])
    assert found.error == "The server refused the request with status 400: I will not say that."
    assert len(server.completions()) == 3


def test_a_completion_that_the_server_withholds_is_a_failure(opened) -> None:
    engine, _ = opened(
        ScriptedServer(lambda asked: Reply(body=completion(asked, text="", finish_reason="content_filter")))
    )
    (found,) = engine.generate([request("abc")])
    assert (found.finish_reason, found.error) == ("failed", "The server withheld the completion (content_filter).")


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


# What is wrong for every request.


def test_nobody_listening_is_said_at_once(model) -> None:
    with serving(ScriptedServer()) as gone:
        address = gone.address
    started = time.monotonic()
    with pytest.raises(UserError) as caught, open_engine(settings(address, attempts=50), model):
        pass
    assert time.monotonic() - started < 5
    sentence = _sentence(caught.value)
    assert sentence.startswith(f"The engine openai cannot start, since nobody answers at {address}/models (")
    assert sentence.endswith("): start the server, or correct `engine.address`.")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_said_at_once(model, status: int) -> None:
    server = ScriptedServer(models=Reply(status, said="Who are you?"))
    assert refuses(server, model) == (
        f"The server at {server.address} refuses the key in the environment variable OPENAI_API_KEY with status "
        f"{status} (Who are you?): set it to one that may use this model."
    )
    assert server.paths() == ["models"]


@pytest.mark.parametrize("models", [Reply(body=listing("other")), Reply(404), Reply(body=b"<html>")])
def test_a_model_that_is_not_there_is_said_at_once(model, models: Reply) -> None:
    server = ScriptedServer(models=models, trial=Reply(404, said="The model `tiny` does not exist."))
    assert refuses(server, model) == (
        f"{server.address}/completions has status 404 (The model `tiny` does not exist): correct `engine.address` or "
        "`engine.model`."
    )
    assert server.paths() == ["models", "completions"]


def test_a_server_without_a_list_of_models_can_do_the_rest(opened) -> None:
    engine, _ = opened(ScriptedServer(models=Reply(404, said="Not Found")))
    assert len(list(engine.generate([request("abc", n=3)]))) == 3


def test_a_server_that_takes_no_tokens_is_named_with_the_way_out(model) -> None:
    server = ScriptedServer(trial=Reply(400, said="prompt must be a string"))
    assert refuses(server, model) == (
        f"The server at {server.address} does not complete a short prompt, since the server refused the request with "
        "status 400: prompt must be a string: set `engine.api: chat` if it takes no tokens."
    )


def test_an_address_that_leads_nowhere_is_said_at_once(model) -> None:
    with pytest.raises(UserError, match=r"nobody answers at http://no-such-host\.invalid/v1"):
        open_engine(settings("http://no-such-host.invalid/v1"), model).__enter__()
    for address in ("http://127.0.0.1:99999/v1", "http://[::1/v1"):
        with pytest.raises(UserError) as caught:
            open_engine(settings(address), model).__enter__()
        assert _sentence(caught.value).startswith(f"`engine.address` is {address}: ")


def test_a_key_that_is_revoked_stops_everything_and_keeps_what_there_is(opened) -> None:
    server = ScriptedServer(lambda asked: Reply(401, said="Revoked") if len(server.completions()) > 5 else Reply())
    engine, _ = opened(server, max_rows=1)
    found = []
    with pytest.raises(UserError, match="refuses the key"):
        for completed in engine.generate([request("abc", n=500)]):
            found.append(completed)
    assert [completion.finish_reason for completion in found] == ["stop"] * 5
    assert len(server.completions()) == 6


@pytest.mark.parametrize(
    "end",
    [
        Reply(503, said="shutting down", after=0.05),
        Reply(breaks=True, after=0.05),
        Reply(429, said="quota", after=0.05),
    ],
)
def test_a_server_that_dies_stops_everything_and_leaves_no_failures(opened, tmp_path: Path, end: Reply) -> None:
    server = ScriptedServer(lambda asked: end if len(server.completions()) > 20 else Reply())
    engine, _ = opened(server, max_rows=8)
    journal, tasks = Journal(tmp_path), [GenerationTask("a", [{"role": "user", "content": "x"}], n=400, seed=1)]
    with pytest.raises(UserError, match=r"answers no request, not even a short one \(the ") as caught:
        generate(engine, journal, tasks, SamplingParameters(), lambda progress: None)
    assert _sentence(caught.value).endswith("see to it and run again; what was sampled is kept.")
    assert len(server.completions()) <= 20 + (8 + 1) * 3
    assert threads_of_the_engine() == []

    server.script = lambda asked: Reply()
    before = len(server.completions())
    frame = generate(engine, Journal(tmp_path), tasks, SamplingParameters(), lambda progress: None).frame
    assert frame["finish_reason"].unique().to_list() == ["stop"]
    assert len(server.completions()) - before == 400 - 20


def test_a_refusal_of_the_sampling_parameters_is_no_failure_of_thousands(opened) -> None:
    server = ScriptedServer(lambda asked: Reply(400, said="top_p is not supported"))
    engine, _ = opened(server, max_rows=8)
    with pytest.raises(UserError, match="status 400: top_p is not supported"):
        list(engine.generate([request("abc", n=5000)]))
    assert len(server.completions()) <= 9


def test_a_server_that_comes_back_in_time_costs_nothing(opened) -> None:
    server = ScriptedServer(lambda asked: Reply(503) if 20 < len(server.completions()) <= 40 else Reply())
    engine, _ = opened(server, attempts=8)
    found = list(engine.generate([request("abc", n=100)]))
    assert [completion.finish_reason for completion in found] == ["stop"] * 100


# Requests in flight.


def test_as_many_requests_are_in_flight_as_the_recipe_allows(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply(after=0.05)), max_rows=5)
    assert len(list(engine.generate([request("abc", n=40)]))) == 40
    assert server.most_at_once == 5


def test_a_completion_is_there_as_soon_as_it_is_finished(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply(after=3.0 if asked is server.completions()[0] else 0)))
    started = time.monotonic()
    completions = engine.generate([request("abc", n=30)])
    for _ in range(29):
        next(completions)
    assert time.monotonic() - started < 2.0
    assert len(list(completions)) == 1


def test_requests_go_on_while_the_consumer_is_busy(opened) -> None:
    engine, server = opened(ScriptedServer(), max_rows=2)
    completions = engine.generate([request("abc", n=60)])
    next(completions)
    deadline = time.monotonic() + 10
    while len(server.completions()) < 60:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(completions)) == 59


def test_stopping_early_cancels_what_is_in_flight_and_leaves_no_thread(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply(after=0.02 if len(server.completions()) < 9 else 5.0)))
    completions = engine.generate([request("abc", n=1000)])
    next(completions)
    assert threads_of_the_engine()
    started = time.monotonic()
    completions.close()
    assert time.monotonic() - started < 2.0
    assert threads_of_the_engine() == []
    asked = len(server.completions())
    time.sleep(0.1)
    assert len(server.completions()) == asked < 30


def test_an_exception_of_the_consumer_leaves_no_thread(opened) -> None:
    engine, _ = opened(ScriptedServer(lambda asked: Reply(after=0.02)))
    with pytest.raises(ZeroDivisionError):
        for _ in engine.generate([request("abc", n=1000)]):
            _ = 1 / 0
    assert threads_of_the_engine() == []


def test_an_engine_works_where_an_event_loop_runs_already(model) -> None:
    import asyncio

    async def service() -> int:
        with serving(ScriptedServer()) as server, open_engine(settings(server.address), model) as engine:
            return len(list(engine.generate([request("abc", n=3)])))

    assert asyncio.run(service()) == 3


def test_nothing_asked_is_nothing_sent(opened) -> None:
    engine, server = opened(ScriptedServer())
    assert list(engine.generate([])) == []
    assert server.completions() == []


# The key.


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


# Adapters.


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
    assert time.monotonic() - started < 5


# The package.


@pytest.mark.parametrize("package", ["anyio", "httpx", "tenacity"])
def test_a_missing_package_is_one_sentence_with_the_extra(model, package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from selftaught_assets.engine_settings import OpenAISettings\n"
        "from selftaught_assets.engines.factory import open_engine\n"
        "from selftaught_assets.errors import UserError\n"
        "from selftaught_assets.storage.models import ModelReference\n"
        "settings = OpenAISettings(name='openai', address='http://127.0.0.1:9', model='m', identity='i')\n"
        "try:\n    open_engine(settings, ModelReference(Path('.'), None, '')).__enter__()\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"The recipe asks for `engine: openai`, which needs the package {package}: run "
        "`pip install 'selftaught-assets[openai]'`.\n"
    )
