"""The engine for a server that somebody else runs, at an OpenAI-compatible address.

Belongs here: what is made sure of before anything is sampled, adapters, and the Engine protocol. Not here: requests in
flight (sampling.py), tries and pauses (client.py), the wording of requests (messages.py).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date as Date
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from anyio.from_thread import start_blocking_portal

from selftaught_assets.engines import chat
from selftaught_assets.engines.openai.client import (
    Connection,
    HopelessError,
    RefusedError,
    Server,
    UnansweredError,
)
from selftaught_assets.engines.openai.messages import Answer, Dialect, ServedModel, read_models, vllm_extras
from selftaught_assets.engines.openai.sampling import complete_all
from selftaught_assets.engines.protocol import TEMPLATE_DATE, Completion, Prompt, Request, SamplingParameters
from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import OpenAISettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_THREAD = "openai engine"
_TRIAL = [{"role": "user", "content": "Hello"}]
_ONE_TOKEN = SamplingParameters(temperature=0, top_p=1, max_tokens=1)
_ADAPTER_NAME_LENGTH = 16

Result = TypeVar("Result")


class Served(NamedTuple):
    """A model that was found on a server, and answers."""

    dialect: Dialect
    context: int | None
    """Tokens of prompt and completion together, where the server tells."""
    adapter: str | None
    """The name of the adapter that was put there for this engine."""


class OpenAIEngine:
    """A model on a server. Use `open_engine`, which takes its adapter away at the end."""

    def __init__(
        self,
        settings: OpenAISettings,
        model: ModelReference,
        server: Server,
        served: Served,
        tokenizer: "PreTrainedTokenizerBase",
        end_tokens: tuple[int, ...],
    ) -> None:
        """Takes a model that was found; `load_engine` finds it."""
        self.model_digest = model.digest
        self.identity = digest("openai", model.digest, settings.identity, settings.api)
        self.capacity = settings.max_rows
        self._server = server
        self._served = served
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index).

        Requests go on while the consumer is busy. If it stops early, those in flight are cancelled.

        Raises:
            UserError: the server refuses every request, or answers none any more.
        """
        samples = [(request, index) for request in requests for index in request.sample_indices]
        if not samples:
            return
        finished: SimpleQueue[Completion | None] = SimpleQueue()
        dialect, context, _ = self._served
        trial = self.render(_TRIAL)
        with start_blocking_portal(name=_THREAD) as portal:
            work = portal.start_task_soon(
                complete_all, self._server, dialect, context, trial, self._text, samples, finished.put
            )
            work.add_done_callback(lambda _: finished.put(None))
            yield from iter(finished.get, None)
            work.result()

    def close(self) -> None:
        """Takes the adapter away that was put there for this engine."""
        if (name := self._served.adapter) is not None:
            _ask(self._server, lambda connection: _unload(connection, name))

    def _text(self, answer: Answer, stop: Sequence[str]) -> str:
        """What an answer says: by its tokens where the server tells them, as in every engine, else by its own word."""
        if answer.token_ids is None:
            return chat.before_stop(answer.text, stop)
        (text,) = chat.completion_texts(self._tokenizer, [answer.token_ids], self._end_tokens, stop)
        return text


def load_engine(settings: OpenAISettings, model: ModelReference) -> OpenAIEngine:
    """Finds the model on the server, puts its adapter there where the recipe says so, and tries one short prompt.

    Raises:
        UserError: nobody listens at the address; or the server refuses the key, has no such model, cannot load the
            adapter, or does not complete the short prompt.
    """
    server, tokenizer = Server(settings), chat.load_tokenizer(model.base)
    ends = chat.end_tokens(tokenizer, chat.configured_end(model.base))
    empty = chat.empty_prompt_token(tokenizer, ends)
    trial = chat.render(tokenizer, _TRIAL)

    async def found(connection: Connection) -> Served:
        listed = await _listed(connection, settings.model)
        name = settings.model if model.adapter is None else model.digest[:_ADAPTER_NAME_LENGTH]
        extras = vllm_extras(ends) if listed is not None and listed.is_vllm else {}
        dialect = Dialect(settings.api, name, empty, extras)
        loaded = model.adapter is not None and settings.adapters == "load" and await _load(connection, name, model)
        try:
            await _require_completion(connection, dialect, trial, model)
        except UserError:
            if loaded:
                await _unload(connection, name)
            raise
        return Served(dialect, None if listed is None else listed.context, name if loaded else None)

    return OpenAIEngine(settings, model, server, _ask(server, found), tokenizer, ends)


def _ask(server: Server, question: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Asks in a thread of its own: the caller may have an event loop that runs already."""

    async def asked() -> Result:
        async with server.connected() as connection:
            return await question(connection)

    with start_blocking_portal(name=_THREAD) as portal:
        return portal.call(asked)


async def _listed(connection: Connection, name: str) -> ServedModel | None:
    """What the server's list says of a model; None where it has no list, or not this model on it."""
    try:
        models = await connection.ask("models", read_models, somebody_will_come=False)
    except HopelessError as error:
        if error.status not in (404, 405):
            raise
        return None
    except RefusedError:
        return None
    except UnansweredError as error:
        raise UserError(
            f"The engine openai cannot start, since {error}: start the server, or correct `engine.address`."
        ) from None
    return next((model for model in models if model.name == name), None)


async def _require_completion(connection: Connection, dialect: Dialect, trial: Prompt, model: ModelReference) -> None:
    """Tries one token: what is wrong for every request shows here, before anything is asked in earnest."""
    try:
        await connection.ask(dialect.path, dialect.read, dialect.body(trial, _ONE_TOKEN, seed=0, max_tokens=1))
    except HopelessError as error:
        if error.status != 404 or model.adapter is None:
            raise
        raise UserError(
            f"The server at {connection.address} does not have the adapter {model.adapter} under the name "
            f"{dialect.model}: put it there, or set `engine.adapters: load`."
        ) from None
    except (RefusedError, UnansweredError) as error:
        hint = "set `engine.api: chat` if it takes no tokens" if dialect.api == "completions" else "see to it"
        raise UserError(
            f"The server at {connection.address} does not complete a short prompt, since {error}: {hint}."
        ) from None


async def _load(connection: Connection, name: str, model: ModelReference) -> bool:
    """Has the server load an adapter; False if it has it already."""
    body = {"lora_name": name, "lora_path": str(model.adapter.resolve())}
    try:
        await connection.ask("load_lora_adapter", bytes, body)
    except (HopelessError, RefusedError, UnansweredError) as error:
        if isinstance(error, RefusedError) and "already been loaded" in error.said:
            return False
        if isinstance(error, HopelessError) and error.status not in (404, 405):
            raise
        raise UserError(
            f"The server at {connection.address} did not load the adapter {model.adapter} ({str(error).rstrip('.')}): "
            "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 where it can read that folder, or "
            "set `engine.adapters: named`."
        ) from None
    return True


async def _unload(connection: Connection, name: str) -> None:
    # A server that is gone, or was started again, has forgotten it.
    with suppress(HopelessError, RefusedError, UnansweredError):
        await connection.ask("unload_lora_adapter", bytes, {"lora_name": name}, somebody_will_come=False)
