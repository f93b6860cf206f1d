"""Who may ask a service, how often, and how much.

Belongs here: the bearer token, the host names, the rate limit and the limit of a body, as plain objects. Not here: what
the service answers (service.py).
"""

import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable

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
