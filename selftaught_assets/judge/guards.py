"""Who may ask a service, how often and how much, decided before anything is read; and what is counted.

Who may not ask is refused before the body is read. FastAPI reads and checks the body before it asks its dependencies,
and leaves out the pages that it adds itself, so host, token and rate are looked at in a middleware around it all.
"""

import asyncio
import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Collection, Iterable

from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selftaught_assets.errors import UserError
from selftaught_assets.judge.answers import Answer

PROBES = {"/health", "/ready"}
"""What those ask who keep the service running: without a token, and as often as they like."""
_COUNTED = {"/v1/compare", "/v1/score", "/metrics", *PROBES}
_MOST_CLIENTS = 10_000
_A_MOMENT = 0.05
"""Seconds."""
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600, 1800)
"""Seconds to the response; the last bucket ends with the time limit."""


class BearerToken:
    """Looks for the token in the `Authorization` header, in a time that does not depend on where they differ."""

    def __init__(self, token: str) -> None:
        self.scheme = HTTPBearer(scheme_name="Token", auto_error=False)
        self._expected = token.encode().decode("latin-1").strip().encode()  # As the header's text is read.

    async def admits(self, connection: HTTPConnection) -> bool:
        sent = await self.scheme(connection)
        return sent is not None and hmac.compare_digest(sent.credentials.encode(), self._expected)


class AllowedHosts:
    """The names by which a service may be asked for.

    A page of another site can have its own host name resolve to this machine, and would then count as our own page. It
    cannot change the name in the `Host` header, though. An address that is a number is not a name of theirs.
    """

    def __init__(self, names: Iterable[str], *, addresses: bool = False) -> None:
        """Takes host names and addresses without ports; `*.example.com` is every name below that one, `*` is all.

        `addresses` admits every address that is a number: for a service that listens on all of them.
        """
        self._names = {name.lower().rstrip(".").strip("[]") for name in names}
        self._addresses = addresses

    def admits(self, host: str) -> bool:
        """Whether the `Host` header names this service; a client that sends none is no browser, and may ask."""
        name = host.strip().lower()
        name = name.partition("]")[0][1:] if name.startswith("[") else name.partition(":")[0].rstrip(".")
        if not name or name in self._names or "*" in self._names:
            return True
        if any(known.startswith("*.") and name.endswith(known[1:]) for known in self._names):
            return True
        return self._addresses and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class RateLimit:
    """A bucket of tokens for each client: `burst` requests at once, then `rate` a second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, client: str) -> float:
        """0 where the client may ask now, which is then counted; else in how many seconds it may."""
        now = self._clock()
        level, then = self._buckets.get(client, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1:
            return (1 - level) / self._rate
        self._buckets.pop(client, None)
        self._buckets[client] = level - 1, now  # The one that asked last is the last of the dict.
        if len(self._buckets) > _MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0


def limited(receive: Receive, most_bytes: int, seconds: float) -> Receive:
    """Receives a request's body, but no more than so many bytes of it, whatever was announced, and not for longer.

    Raises:
        HTTPException: 413, when more has come; 408, when the whole body is not there in time.
    """
    received, is_whole = 0, False
    deadline = asyncio.get_running_loop().time() + seconds

    async def receive_some() -> Message:
        nonlocal received, is_whole
        if is_whole:  # Then this waits for the client to leave.
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            sentence = f"The body was not there within {seconds:g} seconds."
            raise HTTPException(408, sentence, {"Connection": "close"}) from None
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise HTTPException(413, f"The body is larger than {most_bytes:,} bytes.")
        is_whole = not message.get("more_body", False)
        return message

    return receive_some


class Metrics:
    """What the service counts."""

    def __init__(self, longest: float) -> None:
        """`longest`: seconds that an answer may take."""
        self.registry = CollectorRegistry()
        kind = {"registry": self.registry}
        self.requests = Counter(
            "selftaught_requests", "Requests by path and status; 499: the client left.", ["path", "status"], **kind
        )
        buckets = (*(seconds for seconds in _BUCKETS if seconds < longest), longest)
        self.seconds = Histogram(
            "selftaught_request_seconds", "Time to the response.", ["path"], buckets=buckets, **kind
        )
        self.batches = Histogram(
            "selftaught_batch_questions",
            "Questions judged together in a round of votes.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            **kind,
        )
        self.in_flight = Gauge("selftaught_requests_in_flight", "Requests not answered yet.", ["path"], **kind)
        self.judgments = Counter("selftaught_judgments", "Judgments written.", **kind)
        self.waiting = Gauge("selftaught_waiting_questions", "Questions that wait for the judge.", **kind)

    def count(self, together: int, answers: Collection[Answer]) -> None:
        """Counts a round of votes: how many questions were judged together, and the answers that it led to."""
        self.batches.observe(together)
        self.judgments.inc(sum(len(answer.judgments) for answer in answers if not isinstance(answer, UserError)))


class Guard:
    """Refuses who asks for another host, has no token or asks too often, before anything is read, and bodies that are
    too large or too slow; and counts every request."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: AllowedHosts,
        token: BearerToken | None,
        limit: RateLimit,
        most_bytes: int,
        body_seconds: float,
        most_requests: int,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._limit = limit
        self._most_bytes = most_bytes
        self._body_seconds = body_seconds
        self._most_requests = most_requests
        self._at_work = 0
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, has_left = time.monotonic(), None, False

        async def receive_noting_who_leaves() -> Message:
            nonlocal has_left
            message = await receive()
            has_left |= message["type"] == "http.disconnect" and status is None
            return message

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        path = scope["path"] if scope["path"] in _COUNTED else "other"
        self._metrics.in_flight.labels(path).inc()
        self._at_work += 1
        try:
            body = limited(receive_noting_who_leaves, self._most_bytes, self._body_seconds)
            await (await self._refusal(scope) or self._app)(scope, body, send_noting_status)
        except asyncio.CancelledError:  # The server stops, and its time for what is in flight is over.
            if status is not None:
                raise
            await refusal(503, "The service is stopping.", {"Connection": "close"})(scope, receive, send_noting_status)
        finally:
            self._at_work -= 1
            self._metrics.in_flight.labels(path).dec()
            self._metrics.requests.labels(path, "499" if has_left else str(status or 500)).inc()
            if not has_left:
                self._metrics.seconds.labels(path).observe(time.monotonic() - started)

    async def _refusal(self, scope: Scope) -> Response | None:
        is_probe = scope["path"] in PROBES
        if not is_probe and self._at_work > self._most_requests:
            await asyncio.sleep(_A_MOMENT)  # In which requests end whose connections were dropped just now.
        if not is_probe and self._at_work > self._most_requests:
            headers = {"Connection": "close", "Retry-After": "5"}
            return refusal(503, "Too many requests are being answered: come back later.", headers)
        client = scope["client"][0] if scope["client"] else ""
        if not is_probe and (wait := self._limit.seconds_to_wait(client)):
            return come_back("Too many requests: come back later.", wait)
        if not all(self._hosts.admits(value.decode("latin-1")) for name, value in scope["headers"] if name == b"host"):
            return refusal(400, "The service is not known by this host name: start it with --allow-host NAME.")
        if self._token is None or is_probe or await self._token.admits(HTTPConnection(scope)):
            return None
        return refusal(401, "The bearer token is missing or wrong.", {"WWW-Authenticate": "Bearer"})


def come_back(sentence: str, seconds: float) -> Response:
    """A refusal for now, with the time after which to try again."""
    return refusal(429, sentence, {"Retry-After": str(math.ceil(seconds))})


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A response that says in one sentence why there is no answer."""
    detail = sentence.encode("utf-8", "replace").decode()
    return JSONResponse({"detail": detail}, status, headers)
