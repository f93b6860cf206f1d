"""The openai engine on a real vLLM server, with a key: what the conformance suite does not say."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

from selftaught_assets.engines.factory import open_engine
from selftaught_assets.engines.protocol import Engine, Request
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import OpenAISettings, SamplingParameters, TransformersSettings
from selftaught_assets.storage.models import ModelReference, adapter_digest, reference_model
from selftaught_assets_tests import patient
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.engines.conftest import by_sample
from selftaught_assets_tests.judge.tiny_judges import write_adapter
from selftaught_assets_tests.vllm_server import KEY, VllmServer

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")

SEED = reference_model(ROOT / "models" / "seed")
CONTEXT = 2048
SORT = [f"Sort the numbers up : {numbers}" for numbers in ("27 19 24", "5 3 8 1", "44 2 17", "9 6")]
WILD = {"samples": (0, 1, 2), "temperature": 2.0, "top_p": 1.0, "max_tokens": 24}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> ModelReference:
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, SEED.base)
    return ModelReference(SEED.base, folder, adapter_digest(folder, SEED.digest))


@pytest.fixture
def server(vllm_server: VllmServer) -> VllmServer:
    return vllm_server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def settings(server: VllmServer, **fields: object) -> OpenAISettings:
    """With the key where a user has it."""
    return server.settings(**({"key_variable": "OPENAI_API_KEY", "attempts": 2} | fields))


def models_of(server: VllmServer) -> list[str]:
    listed = patient.get(f"{server.address}/models", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False)
    return [model["id"] for model in listed.json()["data"]]


def ask(
    engine: Engine, contents: Iterable[str], *, samples: tuple[int, ...] = (0,), **sampling: object
) -> list[Request]:
    """A request for each user turn, named by it."""
    parameters = SamplingParameters(**sampling)
    turns = [(content, [{"role": "user", "content": content}]) for content in contents]
    return [Request(content, engine.render(messages), parameters, 7, samples) for content, messages in turns]


def greedy(engine: Engine) -> dict[tuple[str, int], tuple[object, ...]]:
    return {name: found[2:6] for name, found in by_sample(engine.generate(ask(engine, SORT, temperature=0))).items()}


def test_a_chat_says_what_the_embedded_engine_says(server: VllmServer) -> None:
    """The server's template is the model's own, so even the tokens of the prompts are as many."""
    with open_engine(TransformersSettings(device="cpu"), SEED) as embedded:
        expected = greedy(embedded)
    with open_engine(settings(server, api="chat"), SEED) as chat:
        assert greedy(chat) == expected


def test_a_chat_knows_a_prompt_that_is_too_long(server: VllmServer) -> None:
    with open_engine(settings(server, api="chat"), SEED) as engine:
        lengths = {name: _of_length(engine, length) for name, length in (("just", CONTEXT), ("far", 2 * CONTEXT))}
        (nearly,) = ask(engine, [_of_length(engine, CONTEXT - 5)], max_tokens=50, temperature=2.0, top_p=1.0)
        found = by_sample(engine.generate([*ask(engine, lengths.values()), nearly]))
    assert found[lengths["just"], 0][2:5] == ("", "prompt_too_long", CONTEXT)
    assert found[lengths["far"], 0][2:5] == ("", "prompt_too_long", 2 * CONTEXT)
    assert 1 <= found[nearly.request_id, 0].completion_tokens <= 5


def _of_length(engine: Engine, tokens: int) -> str:
    """A user turn with which the prompt has so many tokens."""
    words = tokens - len(engine.render([{"role": "user", "content": "27"}]).token_ids) + 1
    content = " ".join(["27"] * words)
    assert len(engine.render([{"role": "user", "content": content}]).token_ids) == tokens
    return content


def test_samples_are_the_same_however_many_are_asked_together(server: VllmServer) -> None:
    with open_engine(settings(server, max_rows=16), SEED) as engine:
        together = by_sample(engine.generate(ask(engine, SORT, **WILD)))
        again = by_sample(engine.generate(ask(engine, SORT[:1], **WILD)))
    assert len({found.text for found in together.values()}) > 6
    assert again == {key: found for key, found in together.items() if key[0] == SORT[0]}


def test_an_adapter_is_there_as_long_as_its_engine(server: VllmServer, adapted: ModelReference) -> None:
    with open_engine(settings(server), SEED) as base, open_engine(settings(server), adapted) as engine:
        assert models_of(server) == ["seed", adapted.digest[:16]]
        with open_engine(settings(server), adapted) as second, open_engine(settings(server, adapters="named"), adapted):
            assert by_sample(second.generate(ask(second, SORT, **WILD))).keys()
        assert models_of(server) == ["seed", adapted.digest[:16]]  # The second one found it there, and left it.
        assert by_sample(engine.generate(ask(engine, SORT, **WILD))) != by_sample(
            base.generate(ask(base, SORT, **WILD))
        )
    assert models_of(server) == ["seed"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model": "sed"}, "/completions has status 404 (The model `sed` does not exist"),
        ({"key_variable": "NO_SUCH_KEY"}, "refuses the key in the environment variable NO_SUCH_KEY with status 401"),
        ({"address": "http://127.0.0.1:{port}"}, "/completions has status 404 (Not Found): correct `engine.address`"),
    ],
)
def test_what_is_wrong_for_all_requests_is_one_sentence(server: VllmServer, fields, sentence) -> None:
    fields = {name: value.format(port=server.address.split(":")[2].split("/")[0]) for name, value in fields.items()}
    with pytest.raises(UserError) as caught, open_engine(settings(server, **fields), SEED):
        pass
    assert sentence in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_adapter_that_the_server_does_not_have_or_cannot_read_is_one_sentence(
    server: VllmServer, adapted: ModelReference, tmp_path: Path
) -> None:
    gone = ModelReference(SEED.base, tmp_path / "gone", "f" * 64)
    for adapters, sentence in (("named", "does not have the adapter"), ("load", "did not load the adapter")):
        with pytest.raises(UserError, match=sentence), open_engine(settings(server, adapters=adapters), gone):
            pass
    assert models_of(server) == ["seed"]


def test_a_parameter_that_the_server_refuses_stops_everything(server: VllmServer) -> None:
    """The settings forbid what vLLM refuses, so one is made past them."""
    impossible = SamplingParameters.model_construct(temperature=-1.0, top_p=1.0, max_tokens=5, stop=())
    with open_engine(settings(server), SEED) as engine:
        (request,) = ask(engine, SORT[:1], samples=tuple(range(50)))
        object.__setattr__(request, "sampling", impossible)
        with pytest.raises(UserError, match="temperature must be non-negative"):
            list(engine.generate([request]))
