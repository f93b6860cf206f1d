"""Asking an HTTP server patiently: tries, pauses, and what an answer other than 200 means.

Belongs here: the connection, its key, and whose fault a failure is. Not here: what is asked (messages.py) and
what becomes of a sample that fails (sampling.py).

The key goes into the header of requests to the recipe's address and nowhere else: redirects are not followed, and what
a server says is shown without it.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from selftaught_assets.engines.openai.messages import whole_characters
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import OpenAISettings

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

Answer = TypeVar("Answer")


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
        self, path: str, read: Callable[[bytes], Answer], body: object = None, *, somebody_will_come: bool = True
    ) -> Answer:
        """Asks as often as the recipe allows, with growing random pauses, or those that the server wants.

        Args:
            path: below the address.
            read: makes an answer of the body; raises ValueError for one that is not whole, which is a reason to ask
                again.
            body: sent as JSON with POST; without one the method is GET.
            somebody_will_come: whether to ask again where nobody listens.

        Raises:
            RefusedError: the server refuses this request.
            UnansweredError: the tries are used up; it tells of the last one.
            HopelessError: the server refuses every request.
        """
        tries = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, UnansweredError) and (error.reached or somebody_will_come)
            ),
            stop=stop_after_attempt(self._server.attempts),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            reraise=True,
        )
        return await tries(self._try, path, read, body)

    async def _try(self, path: str, read: Callable[[bytes], Answer], body: object) -> Answer:
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
        raise UserError(f"`engine.address` is {address}: ports end at {_LAST_PORT}.")
    return address.rstrip("/")


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"The environment variable {variable} holds something that cannot be a key: it has blanks, line breaks or "
            "letters outside ASCII."
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
