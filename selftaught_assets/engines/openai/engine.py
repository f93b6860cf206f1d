"""The engine for an OpenAI-compatible server.

A failure is a request's own only if the server answers others. Where nothing else tells, a trial does: a short prompt
with the same sampling parameters. If that fails as well, the server is at fault: everything stops, and the journal
records no false failures.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date as Date
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from anyio.from_thread import start_blocking_portal

from selftaught_assets.engines import chat
from selftaught_assets.engines.openai.client import (
    Answer,
    Connection,
    Dialect,
    HopelessError,
    RefusedError,
    ServedModel,
    Server,
    UnansweredError,
    overflow,
    read_models,
    sample_seed,
    vllm_extras,
)
from selftaught_assets.engines.protocol import Choice, Completion, FinishReason, Prompt, Request
from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import TEMPLATE_DATE, OpenAISettings, SamplingParameters
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


TextOf = Callable[[Answer, Request], str]

_WORDS = 512
"""Tokens of an answer in words."""
_NEVER = -1.0
"""Before any time of an event loop's clock."""


async def complete_all(
    server: Server,
    dialect: Dialect,
    context: int | None,
    trial: Prompt,
    text_of: TextOf,
    samples: Iterator[tuple[Request, int]],
    finished: Callable[[Completion], None],
) -> None:
    """Hands each completion to `finished` as it arrives, exactly one for each (request, sample index).

    Args:
        server: where to ask.
        dialect: how to ask.
        context: tokens of prompt and completion together; None: unknown.
        trial: a short prompt, to tell a request that fails from a server that fails.
        text_of: what an answer to a request says.
        samples: requests and sample indices; each is taken when it is asked for.
        finished: called in the event loop's thread.

    Raises:
        UserError: the server refuses every request, or has stopped answering.
    """
    async with server.connected() as connection:
        sampling = _Sampling(connection, dialect, context, trial, text_of)

        async def work() -> None:
            for request, index in samples:
                finished(await sampling.completion(request, index))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(server.max_rows):
                    workers.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


class _Sampling:
    """The samples of one call."""

    def __init__(
        self, connection: Connection, dialect: Dialect, context: int | None, trial: Prompt, text_of: TextOf
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._context = context
        self._trial = trial
        self._text_of = text_of
        self._on_trial = asyncio.Lock()
        self._answered_at: dict[SamplingParameters, float] = {}
        """When the server last answered a request with these parameters, by the event loop's clock."""

    async def completion(self, request: Request, index: int) -> Completion:
        """The completion of one sample: its text, or why there is none."""
        if self._dialect.api == "completions" and self._room(request.prompt) <= 0:
            return _without_text(request, index, "prompt_too_long")
        try:
            answer = await self._answer(request, index)
        except RefusedError as refusal:
            if self._is_too_long(request.prompt, refusal):
                return _without_text(request, index, "prompt_too_long")
            await self._require_answers(request.sampling, since=0.0)
            return _without_text(request, index, "failed", _sentence(refusal))
        except UnansweredError as failure:
            await self._require_answers(request.sampling, since=failure.asked_at)
            return _without_text(request, index, "failed", _sentence(failure))
        if answer.finish_reason == "content_filter":
            return _without_text(request, index, "failed", "The server withheld the completion (content_filter).")
        if answer.problem is not None:
            return _without_text(request, index, "failed", f"The server's answer has no text: {answer.problem}.")
        ours = self._dialect.api == "completions"
        prompt_tokens = len(request.prompt.token_ids) if ours else answer.prompt_tokens
        return Completion(
            request.request_id,
            index,
            self._text_of(answer, request),
            "stop" if request.prompt.choices else answer.finish_reason,
            prompt_tokens,
            answer.completion_tokens,
            min(answer.cached_tokens, prompt_tokens),
        )

    async def _answer(self, request: Request, index: int) -> Answer:
        """Asks with as many tokens as there is room for; once more where the server tells that there is less."""
        seed, sampling = sample_seed(request, index), request.sampling
        room = self._room(request.prompt)
        wanted = sampling.max_tokens if self._dialect.continues or not request.prompt.choices else _WORDS
        max_tokens = min(wanted, room) if room > 0 else wanted
        try:
            return await self._asked(request.prompt, sampling, seed, max_tokens)
        except RefusedError as refusal:
            told = overflow(refusal.status, refusal.said)
            if told is None or told.context is None:
                raise
            room = told.context - (told.prompt_tokens or len(request.prompt.token_ids))
            if not 0 < room < max_tokens:
                raise
            return await self._asked(request.prompt, sampling, seed, room)

    async def _asked(self, prompt: Prompt, sampling: SamplingParameters, seed: int, max_tokens: int) -> Answer:
        body = self._dialect.body(prompt, sampling, seed, max_tokens)
        answer = await self._connection.ask(self._dialect.path, self._dialect.read, body)
        self._answered_at[sampling] = asyncio.get_running_loop().time()
        return answer

    async def _require_answers(self, sampling: SamplingParameters, since: float) -> None:
        """Makes sure that the server has answered a request with these parameters since then, or answers one now.

        Raises:
            UserError: it does not.
        """
        async with self._on_trial:
            if self._answered_at.get(sampling, _NEVER) >= since:
                return
            try:
                await self._answer(Request("trial", self._trial, sampling, seed=0, sample_indices=(0,)), 0)
            except (RefusedError, UnansweredError) as error:
                raise UserError(
                    f"The server at {self._connection.address} answers no request, not even a short one "
                    f"({error}): fix it and run again; completed samples are kept."
                ) from None

    def _room(self, prompt: Prompt) -> int:
        """Tokens that a completion can have, as far as the server tells its context."""
        return sys.maxsize if self._context is None else self._context - max(len(prompt.token_ids), 1)

    def _is_too_long(self, prompt: Prompt, refusal: RefusedError) -> bool:
        """Whether a refusal means the length: the server says so, or the prompt as we count it leaves no room."""
        if overflow(refusal.status, refusal.said) is not None:
            return True
        return refusal.status == 400 and self._room(prompt) <= 0


def _sentence(clause: Exception) -> str:
    text = str(clause)
    return f"{text[0].upper()}{text[1:]}."


def _without_text(request: Request, index: int, reason: FinishReason, error: str | None = None) -> Completion:
    return Completion(request.request_id, index, "", reason, len(request.prompt.token_ids), 0, error=error)


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

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date, reply, choices)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index).

        Requests go on while the consumer is busy. If it stops early, those in flight are cancelled.

        Raises:
            UserError: the server refuses every request, or answers none any more.
        """
        samples = ((request, index) for request in requests for index in request.sample_indices)
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

    def _text(self, answer: Answer, request: Request) -> str:
        """What an answer says: by its tokens where the server tells them, as in every engine, else by its own word."""
        if request.prompt.choices:
            return self._chosen(answer, request.prompt.choices)
        if answer.token_ids is None:
            return chat.before_stop(answer.text, request.sampling.stop)
        (text,) = chat.completion_texts(self._tokenizer, [answer.token_ids], self._end_tokens, request.sampling.stop)
        return text

    def _chosen(self, answer: Answer, choices: Sequence[Choice]) -> str:
        """The choice that an answer means; "" where it was asked for in words, and the answer names none, or several.

        Raises:
            UserError: the server drew another token.
        """
        if not self._served.dialect.continues:
            named = [choice.text for choice in choices if choice.text in answer.text]
            return named[0] if len(named) == 1 else ""
        for choice in choices:
            is_it = answer.text.strip() == self._tokenizer.decode([choice.token]).strip()
            if is_it if answer.token_ids is None else answer.token_ids == (choice.token,):
                return choice.text
        raise UserError(
            f"The server at {self._server.address} does not keep to given tokens, so it cannot be asked for missing "
            "verdicts: set `verdicts.elicit: never`, or `engine.api: chat`, where they are asked for in words."
        )


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
        models = await connection.ask("models", read_models, wait_for_server=False)
    except HopelessError as error:
        if error.status not in (404, 405):
            raise
        return None
    except RefusedError:
        return None
    except UnansweredError as error:
        raise UserError(
            f"The engine openai cannot start because {error}: start the server, or correct `engine.address`."
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
            f"{dialect.model}: register it there, or set `engine.adapters: load`."
        ) from None
    except (RefusedError, UnansweredError) as error:
        hint = "set `engine.api: chat` if it does not accept tokens" if dialect.api == "completions" else "see to it"
        raise UserError(
            f"The server at {connection.address} does not complete a short prompt because {error}: {hint}."
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
        await connection.ask("unload_lora_adapter", bytes, {"lora_name": name}, wait_for_server=False)
