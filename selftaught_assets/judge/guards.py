"""Who may ask a service, how often, and how much.

Belongs here: the bearer token, the rate limit and the limit of a body, as plain objects. Not here: what the service
answers (service.py).
"""

import hmac
import time
from collections.abc import Callable

from fastapi import HTTPException
from starlette.types import Message, Receive

_MOST_CLIENTS = 10_000


class BearerToken:
    """Compares an `Authorization` header with the token, in a time that does not depend on where they differ."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def admits(self, authorization: bytes) -> bool:
        scheme, _, token = authorization.partition(b" ")
        return hmac.compare_digest(scheme.capitalize() + b" " + token.strip(), self._expected)


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


def limited(receive: Receive, most_bytes: int) -> Receive:
    """Receives a request's body, but no more than so many bytes of it, whatever was announced.

    Raises:
        HTTPException: 413, when more has come.
    """
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise HTTPException(413, f"The body is larger than {most_bytes:,} bytes.")
        return message

    return receive_some
