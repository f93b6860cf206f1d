"""The openai engine where something fails for good: a request, or everything."""

import json
import time
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.engines.openai.client import Dialect, sample_seed
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets_tests.engines.conftest import by_sample, byte_ids, request
from selftaught_assets_tests.engines.openai.conftest import refuses, settings, the_sentence, threads_of_the_engine
from selftaught_assets_tests.engines.scripted_server import (
    Asked,
    Reply,
    ScriptedServer,
    completion,
    in_turn,
    listing,
    serving,
)

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


def test_requests_are_taken_when_they_are_asked_and_what_goes_wrong_in_one_ends_all(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply()), max_rows=2)
    ahead = []

    def each():
        for number in range(20):
            ahead.append(number - len(server.completions()))
            yield request("abc", name=str(number))
        raise UserError("the template refuses it")

    before = len(server.completions())
    found = []
    with pytest.raises(UserError, match="the template refuses it"):
        found.extend(engine.generate(each()))
    assert max(ahead) + before <= 2


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


# An answer that is no text.

HALF = "ok \ud83d [[A]]"
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": HALF}, "!"]


def one_odd_answer(opened, api: str, **fields: object) -> pl.DataFrame:
    """Three samples of one prompt, as they are kept; the second request is answered with other fields."""

    def script(asked: Asked) -> Reply:
        return Reply(body=completion(asked, **(fields if len(server.completions()) == 2 else {})))

    server = ScriptedServer(script)
    engine, _ = opened(server, api=api, max_rows=1)
    tasks = [GenerationTask("a", [{"role": "user", "content": "x"}], n=3, seed=1)]
    frame = generate(engine, MemoryJournal(), tasks, SamplingParameters(), lambda progress: None).frame
    assert frame["finish_reason"].to_list()[::2] == ["stop", "stop"]
    assert len(server.completions()) == 3
    return frame


@pytest.mark.parametrize(
    ("api", "fields", "text"),
    [
        ("completions", {"text": HALF}, "ok \ufffd [[A]]"),
        ("chat", {"message": {"content": HALF}}, "ok \ufffd [[A]]"),
        ("chat", {"message": {"content": PARTS}}, "ok \ufffd [[A]]!"),
        ("chat", {"message": {"content": []}}, ""),
        ("chat", {"message": {"content": None}}, ""),
        ("completions", {"text": None}, ""),
    ],
)
def test_an_answer_of_odd_form_is_read_as_the_text_that_it_holds(opened, api: str, fields, text: str) -> None:
    frame = one_odd_answer(opened, api, **fields)
    assert frame.row(1, named=True)["text"] == text
    assert frame["finish_reason"][1] == "stop"


@pytest.mark.parametrize(
    ("api", "fields", "error"),
    [
        ("completions", {"text": 7}, "its content is of the type int"),
        ("completions", {"text": {"a": 1}}, "its content is of the type dict"),
        ("chat", {"message": {"content": 1.5}}, "its content is of the type float"),
        (
            "chat",
            {"message": {"content": [{"type": "image_url"}]}},
            "its content has a part of the type image_url, which",
        ),
        (
            "chat",
            {"message": {"content": [{"type": "text", "text": 7}]}},
            "its content has a part of the type text, which",
        ),
        ("chat", {"message": {"content": [7]}}, "its content has a part of the type int, which is no text"),
    ],
)
def test_an_answer_that_is_no_text_fails_its_sample_alone(opened, api: str, fields, error: str) -> None:
    frame = one_odd_answer(opened, api, **fields)
    assert frame["finish_reason"][1] == "failed"
    assert frame["error"][1].startswith(f"The server's answer has no text: {error}")
    assert frame["error"][1].endswith(".")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"usage": {"prompt_tokens": float("inf"), "completion_tokens": 1}}, "its usage has no numbers of tokens"),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 2**63}}, "its usage has no numbers of tokens"),
        ({"choices": [{"text": "x", "finish_reason": "stop", "token_ids": [-1]}]}, "its token_ids are no tokens"),
    ],
)
def test_numbers_that_are_no_tokens_make_an_answer_unreadable(change, complaint: str) -> None:
    whole = {
        "choices": [{"text": "x", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    with pytest.raises(ValueError, match=complaint):
        Dialect("completions", "tiny", 0).read(json.dumps(whole | change).encode())


def test_an_answer_that_is_nested_without_end_is_unreadable() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        Dialect("completions", "tiny", 0).read(b"[" * 100_000)


def test_what_a_server_says_of_a_failure_can_be_kept_whatever_it_is(opened) -> None:
    refusal = Reply(400, said="no \ud83d")
    engine, _ = opened(ScriptedServer(in_turn(refusal)), max_rows=1)
    tasks = [GenerationTask("a", [{"role": "user", "content": "x"}], n=2, seed=1)]
    frame = generate(engine, MemoryJournal(), tasks, SamplingParameters(), lambda progress: None).frame
    assert frame["error"][0] == "The server refused the request with status 400: no \ufffd."


# What is wrong for every request.


def test_nobody_listening_is_said_at_once(model) -> None:
    with serving(ScriptedServer()) as gone:
        address = gone.address
    started = time.monotonic()
    with pytest.raises(UserError) as caught, open_engine(settings(address, attempts=50), model):
        pass
    assert time.monotonic() - started < 60
    sentence = the_sentence(caught.value)
    assert sentence.startswith(f"The engine openai cannot start because nobody answers at {address}/models (")
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
        f"The server at {server.address} does not complete a short prompt because the server refused the request with "
        "status 400: prompt must be a string: set `engine.api: chat` if it does not accept tokens."
    )


def test_an_address_that_leads_nowhere_is_said_at_once(model) -> None:
    with pytest.raises(UserError, match=r"nobody answers at http://no-such-host\.invalid/v1"):
        open_engine(settings("http://no-such-host.invalid/v1"), model).__enter__()
    for address in ("http://127.0.0.1:99999/v1", "http://[::1/v1"):
        with pytest.raises(UserError) as caught:
            open_engine(settings(address), model).__enter__()
        assert the_sentence(caught.value).startswith(f"`engine.address` is {address}: ")


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
    assert the_sentence(caught.value).endswith("fix it and run again; completed samples are kept.")
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
