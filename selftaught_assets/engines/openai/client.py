"""An HTTP server asked patiently: what is said to it, what its answers mean, and when to try again.

The key goes into the header of requests to the recipe's address and nowhere else: redirects are not followed, and
what a server says is shown without it.

Why this is not the `openai` SDK: docs/decisions/0010-libraries-and-our-own-code.md.
"""

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple, TypeVar

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from selftaught_assets.engines.chat import beginning
from selftaught_assets.engines.drawing import stream_keys
from selftaught_assets.engines.protocol import Prompt, Request
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import OpenAISettings, SamplingParameters

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum context|(?:prompt|input)\b.{0,40}\btoo (?:long|large)"
    r"|maximum number of tokens|`inputs` (?:tokens|must have less)",
    re.IGNORECASE,
)
"""How vLLM, SGLang, llama.cpp, TGI and OpenAI say that a prompt does not fit, alone or with its completion."""
_CONTEXT = re.compile(r"context (?:length|size|window)(?: is| of|:)? \(?(\d+)", re.IGNORECASE)
_COUNTED = re.compile(r"(\d+) (?:input tokens|(?:tokens )?(?:in|from) (?:the |your )?(?:input|messages|prompt))", re.I)


_HALF_PAIR = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_TEXT_PARTS = ("text", "output_text")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
_CERTAIN = 100
"""The bias that leaves a server's model these tokens alone; it is the same for all, so their odds stay as they are."""
_IN_WORDS = "Give your final verdict now, and nothing else: {}."
_MOST_TOKENS = 2**31
"""More are no count."""


class ServedModel(NamedTuple):
    """A model in the server's own list."""

    name: str
    context: int | None
    """Tokens of prompt and completion together, where the server tells."""
    is_vllm: bool


class Answer(NamedTuple):
    """One completion as the server gave it."""

    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt's tokens, those that the server had computed before; 0 where it does not tell."""
    token_ids: tuple[int, ...] | None
    """What was sampled, with the token that ended it, where the server tells."""
    problem: str | None = None
    """Why there is no text, as a clause. To ask again would bring the same, since the seed is the same."""


class Overflow(NamedTuple):
    """What a refusal says about a context that is too short. None: it does not say."""

    context: int | None
    prompt_tokens: int | None


@dataclass(frozen=True)
class Dialect:
    """How a server is asked for completions."""

    api: Literal["completions", "chat"]
    model: str
    empty_prompt_token: int
    """Stands for a prompt without tokens, which no server takes."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of this kind of server: only vLLM has any."""

    @property
    def path(self) -> str:
        return "completions" if self.api == "completions" else "chat/completions"

    @property
    def continues(self) -> bool:
        """Whether it takes what the assistant has said already. Where not, a choice is asked for in words."""
        return self.api == "completions" or bool(self.extras)

    def body(self, prompt: Prompt, sampling: SamplingParameters, seed: int, max_tokens: int) -> dict[str, Any]:
        """The request for one completion."""
        if self.api == "completions":
            asked = {"prompt": list(prompt.token_ids) or [self.empty_prompt_token]}
        else:
            asked = self._conversation(prompt)
        if prompt.choices and self.continues:
            tokens = [choice.token for choice in prompt.choices]
            asked |= {"allowed_token_ids": tokens} if self.extras else {"logit_bias": dict.fromkeys(tokens, _CERTAIN)}
        return {
            "model": self.model,
            **asked,
            "n": 1,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            **self.extras,
        }

    def _conversation(self, prompt: Prompt) -> dict[str, Any]:
        turns, texts = list(prompt.messages), [choice.text for choice in prompt.choices]
        if prompt.text and not turns:
            raise UserError(
                "A chat API does not write a user's turn, as `pool.magpie` asks for: set `engine.api: completions`."
            )
        if not prompt.reply and not texts:
            return {"messages": turns}
        if self.continues:
            said = {"role": "assistant", "content": "".join([prompt.reply, *beginning(texts)])}
            return {"messages": [*turns, said], "continue_final_message": True, "add_generation_prompt": False}
        if not texts:
            raise UserError(
                "A chat API continues what the assistant has said on vLLM alone: set `engine.api: completions`."
            )
        said = {"role": "assistant", "content": prompt.reply}
        return {"messages": [*turns, said, {"role": "user", "content": _IN_WORDS.format(" or ".join(texts))}]}

    def read(self, content: bytes) -> Answer:
        """The completion in an answer. Raises ValueError, with what is wrong, if it is not whole."""
        body = _json_object(content)
        try:
            choice, usage = body["choices"][0], body["usage"]
            said = choice["text"] if self.api == "completions" else choice["message"]["content"]
            counts = _count(usage["prompt_tokens"]), _count(usage["completion_tokens"])
            cached = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            reason, token_ids = choice["finish_reason"], _token_ids(choice.get("token_ids"))
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("it lacks the text, finish_reason or usage of a completion") from None
        if reason not in ("stop", "length", "content_filter"):
            raise ValueError(f"its finish_reason is {reason}")
        try:
            text, problem = _text(said), None
        except ValueError as error:
            text, problem = "", str(error)
        return Answer(text, reason, *counts, cached, token_ids, problem if token_ids is None else None)


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: JSON can hold one, no file can.

    Servers in languages whose strings are UTF-16 send them where a text is cut in the middle of an emoji.
    """
    return _HALF_PAIR.sub(_REPLACEMENT, text)


def vllm_extras(end_tokens: tuple[int, ...]) -> dict[str, Any]:
    """Fields that keep vLLM to the recipe (without them it takes what the model's generation_config.json suggests),
    and have it tell the tokens that it sampled.

    Args:
        end_tokens: that end a completion, besides those that the server knows.
    """
    return {
        "stop_token_ids": list(end_tokens),
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "return_token_ids": True,
    }


def sample_seed(request: Request, sample_index: int) -> int:
    """The seed of one sample, of 63 bits: a function of the request's seed and the sample index alone."""
    return int(stream_keys([request.seed], [sample_index])[0]) >> 1


def read_models(content: bytes) -> list[ServedModel]:
    """The models in a server's list; none if it is no such list."""
    try:
        return [
            ServedModel(
                model["id"],
                context if isinstance(context := model.get("max_model_len"), int) else None,
                model.get("owned_by") == "vllm",
            )
            for model in _json_object(content)["data"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def overflow(status: int, said: str) -> Overflow | None:
    """What a refusal says about the context; None if it is about something else."""
    if status not in (400, 413, 422) or not _TOO_LONG.search(said):
        return None
    return Overflow(*(int(found[1]) if (found := pattern.search(said)) else None for pattern in (_CONTEXT, _COUNTED)))


def _text(said: object) -> str:
    """What a completion says: a string, nothing, or parts of which some are the model's reasoning.

    Raises:
        ValueError: it is something else.
    """
    if said is None:
        return ""
    if isinstance(said, str):
        return whole_characters(said)
    if not isinstance(said, list):
        raise ValueError(f"its content is of the type {type(said).__name__}")
    return "".join(_text_of_part(part) for part in said)


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return whole_characters(part)
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if kind in _REASONING_PARTS:
        return ""
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return whole_characters(part["text"])
    raise ValueError(f"its content has a part of the type {whole_characters(str(kind))}, which is no text")


def _token_ids(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(token) is int and 0 <= token < _MOST_TOKENS for token in value):
        raise ValueError("its token_ids are no tokens")
    return tuple(value)


def _count(value: object) -> int:
    """Raises ValueError where it is no number of tokens; a whole number may be a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_TOKENS:
        raise ValueError("its usage has no numbers of tokens")
    return int(value)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    return body


FIRST_PAUSE = 2.0
"""Seconds, at most, before the second try; twice as many before each further one. The pause is drawn below that."""
LONGEST_PAUSE = 120.0
"""Seconds, also where the server asks for more."""
_CONNECT_SECONDS = 20.0
_LAST_PORT = 65535
_SAID_AT_MOST = 300
"""Characters of a server's message that are shown."""

_NOT_NOW = {408, 409, 425, 429}
_KEY_IS_WRONG = {401, 402, 403}
_ADDRESS_IS_WRONG = {404, 405}

HttpAnswer = TypeVar("Answer")


class RefusedError(Exception):
    """The server will not answer this request, however often it is asked. Its text is a clause."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the server refused the request with status {status}: {said}")
        self.status = status
        self.said = said


class UnansweredError(Exception):
    """A try brought no answer that can be read. Its text is a clause."""

    def __init__(self, why: str, asked_at: float, *, pause: float = 0.0, reached: bool = True) -> None:
        super().__init__(why)
        self.asked_at = asked_at
        """When the try began, by the event loop's clock."""
        self.pause = pause
        """Seconds that the server asks us to wait."""
        self.reached = reached
        """False if nobody listens there."""


class HopelessError(UserError):
    """Key, address or model is wrong, so every request would fail."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Server:
    """An address, the key for it, and how patiently it is asked.

    Raises:
        UserError: the address is none, or the environment variable holds something that cannot be a key.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self.address = _address(settings.address)
        self.attempts = settings.attempts
        self.timeout = settings.timeout_seconds
        self.key_variable = settings.key_variable
        self.max_rows = settings.max_rows
        self._key = _key(settings.key_variable)
        self._tls = httpx.create_ssl_context()

    @asynccontextmanager
    async def connected(self) -> "AsyncIterator[Connection]":
        """Connections to the server, kept open between requests, closed at the end of the block."""
        async with AsyncExitStack() as stack:
            yield Connection(self, stack)

    def client(self) -> httpx.AsyncClient:
        """For one request at a time."""
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            # A try as a whole has a clock of its own; httpx has one for every read.
            timeout=httpx.Timeout(None, connect=min(_CONNECT_SECONDS, self.timeout)),
            verify=self._tls,
            follow_redirects=False,
        )

    def without_key(self, text: str) -> str:
        """A text of the server as it may be shown: one line, not long, without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        text = " ".join(whole_characters(text).split())
        return (text if len(text) <= _SAID_AT_MOST else text[:_SAID_AT_MOST] + "…").rstrip(" .")


class Connection:
    """Asks a server; requests may be under way together.

    Each of them has a client to itself: httpx looks through all connections of a client for every request, and 256 in
    one client sent fewer requests than 16.
    """

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        """`stack` closes the clients."""
        self.address = server.address
        self._server = server
        self._stack = stack
        self._idle: list[httpx.AsyncClient] = []
        self._not_before = 0.0
        """The server asked every one of us to be quiet until then, by the event loop's clock."""

    async def ask(
        self, path: str, read: Callable[[bytes], HttpAnswer], body: object = None, *, wait_for_server: bool = True
    ) -> HttpAnswer:
        """Asks as often as the recipe allows, with growing random pauses, or those that the server wants.

        Args:
            path: below the address.
            read: makes an answer of the body; raises ValueError for one that is not whole, which is a reason to ask
                again.
            body: sent as JSON with POST; without one the method is GET.
            wait_for_server: whether to ask again where nobody listens.

        Raises:
            RefusedError: the server refuses this request.
            UnansweredError: the tries are used up; it tells of the last one.
            HopelessError: the server refuses every request.
        """
        tries = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, UnansweredError) and (error.reached or wait_for_server)
            ),
            stop=stop_after_attempt(self._server.attempts),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            reraise=True,
        )
        return await tries(self._try, path, read, body)

    async def _try(self, path: str, read: Callable[[bytes], HttpAnswer], body: object) -> HttpAnswer:
        await self._quiet()
        clock, address = asyncio.get_running_loop().time, f"{self._server.address}/{path}"
        asked_at = clock()
        try:
            async with asyncio.timeout(self._server.timeout):
                response = await self._sent("GET" if body is None else "POST", address, body)
        except TimeoutError:
            why = f"the server did not answer within {self._server.timeout:g} seconds"
            raise UnansweredError(why, asked_at) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            what = self._server.without_key(str(error)) or type(error).__name__
            raise UnansweredError(f"nobody answers at {address} ({what})", asked_at, reached=False) from None
        except httpx.RequestError as error:
            what = self._server.without_key(str(error)) or type(error).__name__
            raise UnansweredError(f"the connection to the server broke ({what})", asked_at) from None
        if response.is_success:
            try:
                return read(response.content)
            except ValueError as error:
                what = self._server.without_key(str(error))
                raise UnansweredError(f"the server's answer cannot be read: {what}", asked_at) from None
        trouble = self._trouble(response, asked_at)
        if isinstance(trouble, UnansweredError):
            self._not_before = max(self._not_before, clock() + trouble.pause)
        raise trouble

    async def _sent(self, method: str, address: str, body: object) -> httpx.Response:
        client = self._idle.pop() if self._idle else await self._stack.enter_async_context(self._server.client())
        try:
            return await client.request(method, address, json=body)
        finally:
            self._idle.append(client)

    async def _quiet(self) -> None:
        """Waits as long as the server wants, and a little longer, so that not all requests come back at once."""
        while (left := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left * random.uniform(1.0, 1.1))

    def _trouble(self, response: httpx.Response, asked_at: float) -> RefusedError | UnansweredError | HopelessError:
        """What an answer means that is no success."""
        status, said, server = response.status_code, self._server.without_key(_message(response)), self._server
        if response.is_redirect:
            target = server.without_key(response.headers.get("Location", "another address").partition("?")[0])
            sentence = f"{response.url} redirects to {target}: give the address itself as `engine.address`."
            return HopelessError(status, sentence)
        if status in _KEY_IS_WRONG:
            sentence = (
                f"The server at {server.address} refuses the key in the environment variable {server.key_variable} "
                f"with status {status} ({said}): set it to one that may use this model."
            )
            return HopelessError(status, sentence)
        if status in _ADDRESS_IS_WRONG:
            sentence = f"{response.url} has status {status} ({said}): correct `engine.address` or `engine.model`."
            return HopelessError(status, sentence)
        if status in _NOT_NOW or status >= 500:
            pause = _retry_after(response.headers.get("Retry-After", ""))
            return UnansweredError(f"the server answered with status {status}: {said}", asked_at, pause=pause)
        return RefusedError(status, said)


def _address(address: str) -> str:
    try:
        port = httpx.URL(address).port or 0
    except httpx.InvalidURL as error:
        raise UserError(f"`engine.address` is {address}: {str(error).rstrip('.')}.") from None
    if port > _LAST_PORT:
        raise UserError(f"`engine.address` is {address}: the highest port is {_LAST_PORT}.")
    return address.rstrip("/")


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"The environment variable {variable} holds something that cannot be a key: it contains blanks, line "
            "breaks or letters outside ASCII."
        )
    return key


def _message(response: httpx.Response) -> str:
    """What the server says of its failure, wherever it puts that."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return response.text.strip() or response.reason_phrase
    error = body.get("error", body) if isinstance(body, dict) else body
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(said or response.text)


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for: a number of them, or a date. 0 where it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE)
