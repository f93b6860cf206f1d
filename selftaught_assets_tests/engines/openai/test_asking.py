"""The openai engine: what it asks a server for, and how many requests are in flight."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.openai.client import sample_seed
from selftaught_assets.engines.protocol import Completion
from selftaught_assets.errors import UserError
from selftaught_assets.storage.models import ModelReference
from selftaught_assets_tests.engines.conftest import by_sample, byte_ids, request
from selftaught_assets_tests.engines.openai.conftest import settings, threads_of_the_engine
from selftaught_assets_tests.engines.scripted_server import (
    Asked,
    Reply,
    ScriptedServer,
    completion,
    listing,
    saying,
    serving,
)

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


def test_a_chat_api_is_not_asked_for_the_turn_of_a_user(opened) -> None:
    engine, server = opened(ScriptedServer(), api="chat")
    opening = replace(request("", n=1), prompt=engine.render([]))
    with pytest.raises(UserError, match=r"does not write a user's turn, as `pool\.magpie` asks for"):
        list(engine.generate([opening]))
    assert not server.completions()


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


TURN = [{"role": "user", "content": "Which?"}]
CHOICES = ("[[A]]", "[[B]]")
VLLM = Reply(body=listing("tiny", owned_by="vllm"))


def _chosen(opened, server: ScriptedServer, **fields: object) -> tuple[Completion, dict[str, object]]:
    """A completion that is one of two, and what the server was asked."""
    engine, server = opened(server, **fields)
    prompt = engine.render(TURN, reply="Both. ", choices=CHOICES)
    (found,) = engine.generate([replace(request(temperature=0.5, top_p=0.2, stop=("]",)), prompt=prompt)])
    (asked,) = server.completions()
    return found, asked.body


def test_a_choice_is_one_token_that_a_bias_restricts(opened) -> None:
    found, asked = _chosen(opened, ScriptedServer(saying("B")))
    assert found[2:4] == ("[[B]]", "stop")
    assert asked["prompt"][-len("Both. [[") :] == byte_ids("Both. [[")
    assert asked["logit_bias"] == {str(*byte_ids("A")): 100, str(*byte_ids("B")): 100}
    assert (asked["max_tokens"], asked["temperature"], asked["top_p"]) == (1, 0.5, 1)
    assert "stop" not in asked


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_vllm_is_told_the_tokens_of_a_choice_and_tells_which_it_drew(opened, api) -> None:
    told = lambda asked: Reply(body=completion(asked, token_ids=byte_ids("A")))  # noqa: E731
    found, asked = _chosen(opened, ScriptedServer(told, models=VLLM), api=api)
    assert found[2:4] == ("[[A]]", "stop")
    assert asked["allowed_token_ids"] == byte_ids("AB")
    if api == "chat":
        assert asked["messages"] == [*TURN, {"role": "assistant", "content": "Both. [["}]
        assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(("said", "chosen"), [("It is [[B]].", "[[B]]"), ("[[A]] or [[B]]", ""), ("neither", "")])
def test_another_chat_server_is_asked_in_words(opened, said, chosen) -> None:
    found, asked = _chosen(opened, ScriptedServer(saying(said)), api="chat")
    assert found[2:4] == (chosen, "stop")
    *before, reply, question = asked["messages"]
    assert [*before, reply] == [*TURN, {"role": "assistant", "content": "Both. "}]
    assert question["content"] == "Give your final verdict now, and nothing else: [[A]] or [[B]]."
    assert asked["max_tokens"] > 1


def test_a_server_that_draws_other_tokens_is_not_believed(opened) -> None:
    with pytest.raises(UserError, match="does not keep to given tokens"):
        _chosen(opened, ScriptedServer(saying("The")))


def test_a_chat_server_that_cannot_continue_a_reply_is_not_asked_to(opened) -> None:
    engine, server = opened(ScriptedServer(), api="chat")
    with pytest.raises(UserError, match=r"set `engine\.api: completions`"):
        list(engine.generate([replace(request(), prompt=engine.render(TURN, reply="Both. "))]))
    assert server.completions() == []


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


# Requests in flight.


def test_as_many_requests_are_in_flight_as_the_recipe_allows(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply(after=0.05)), max_rows=5)
    assert len(list(engine.generate([request("abc", n=40)]))) == 40
    assert server.most_at_once == 5


def test_a_completion_is_there_as_soon_as_it_is_finished(opened) -> None:
    others_are_there, waited = threading.Event(), []

    def keeps_the_first(asked: Asked) -> Reply:
        if asked is server.completions()[0]:
            waited.append(others_are_there.wait(30))
        return Reply()

    engine, server = opened(ScriptedServer(keeps_the_first), timeout_seconds=120)
    completions = engine.generate([request("abc", n=30)])
    for _ in range(29):
        next(completions)
    others_are_there.set()
    assert len(list(completions)) == 1
    assert waited == [True]


def test_requests_go_on_while_the_consumer_is_busy(opened) -> None:
    engine, server = opened(ScriptedServer(), max_rows=2)
    completions = engine.generate([request("abc", n=60)])
    next(completions)
    deadline = time.monotonic() + 120
    while len(server.completions()) < 60:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(completions)) == 59


def test_stopping_early_cancels_what_is_in_flight_and_leaves_no_thread(opened) -> None:
    engine, server = opened(ScriptedServer(lambda asked: Reply(after=0.02 if len(server.completions()) < 9 else 20.0)))
    completions = engine.generate([request("abc", n=1000)])
    next(completions)
    assert threads_of_the_engine()
    started = time.monotonic()
    completions.close()
    assert time.monotonic() - started < 15.0
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


# The package.


@pytest.mark.parametrize("package", ["anyio", "httpx", "tenacity"])
def test_a_missing_package_is_one_sentence_with_the_extra(model, package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from selftaught_assets.recipe.engines import OpenAISettings\n"
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
