"""A server that nobody can hold up: uvicorn with a time for each phase of a connection, and a bound on connections.

uvicorn limits the time between two requests alone. Here a connection is also closed where the headers or the body of
a request do not arrive in time, or where the client does not take the response. Once there are too many connections,
the one that has kept us waiting longest makes room, so slow clients cannot shut the others out.
"""

import asyncio
import ipaddress
import resource
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from selftaught_assets.errors import UserError

_MOST_CONNECTIONS = 2048
_LINGER_SECONDS = 1.0
"""After the time for a body, for the client to read why it is refused."""


class Limits(NamedTuple):
    """What a client may take of a server."""

    header_seconds: float = 10.0
    """From the start of the connection, or the response before, to the end of a request's headers."""
    body_seconds: float = 30.0
    """From there to the end of its body; and for the client to go on reading the response."""
    connections: int = _MOST_CONNECTIONS
    stop_seconds: int = 60
    """For what is in flight when the server is told to stop."""


def possible_connections() -> int:
    """As many as are allowed, but no more than half of the files that this process may open."""
    return min(_MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class TimedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, limits: Limits, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._seconds = {h11.IDLE: limits.header_seconds, h11.SEND_BODY: limits.body_seconds + _LINGER_SECONDS}
        self._reading_seconds = limits.body_seconds
        self._most_connections = limits.connections
        self._phase: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.since = self.loop.time()
        """When the phase began."""

    @property
    def keeps_waiting(self) -> bool:
        """Whether it is the client's turn: to send, or to take the last of what it was sent."""
        return self._phase in self._seconds or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._most_connections:
            others = [other for other in self.connections if other is not self and other.keeps_waiting]
            if others:
                oldest = min(others, key=lambda other: other.since)
                oldest.transport.abort()
                self.connections.discard(oldest)  # At once: more may come before it is told.

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = None
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None and not self.transport.is_closing():
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Unless there is a response already. The application's own one is dropped: nothing may follow this one."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def shutdown(self) -> None:
        """What has not arrived is not waited for."""
        super().shutdown()
        if self._phase is h11.SEND_BODY:
            self.transport.abort()

    def _wait_for_reader(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._reading_seconds, self.transport.abort)

    def _watch(self) -> None:
        if self.transport.is_closing():
            self._wait_for_reader()  # What is buffered is sent before it closes, and nobody may be taking it.
        if (phase := self.conn.their_state) is self._phase:
            return
        self._phase, self.since = phase, self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._seconds.get(phase)
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class JudgeServer(uvicorn.Server):
    """Tells the application first when it stops."""

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self.config.app.state.is_stopping = True
        await super().shutdown(sockets)


def server_of(
    app: FastAPI, host: str, port: int, limits: Limits, trusted_proxies: Sequence[str] = (), **options: Any
) -> JudgeServer:
    """The server of an application, not started yet.

    Args:
        app: the service.
        host: address to listen on.
        port: 0 takes a free one.
        limits: of clients.
        trusted_proxies: networks of proxies (`network`), whose `X-Forwarded-For` says who the client is.
        options: of `uvicorn.Config`.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(TimedProtocol, limits),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=limits.stop_seconds,
        **options,
    )
    return JudgeServer(config)


def network(address: str) -> str:
    """The network of a proxy, or one of its address alone.

    Raises:
        UserError: it is neither.
    """
    try:
        return str(ipaddress.ip_network(address, strict=False))
    except ValueError:
        raise UserError(
            f"--trust-proxy takes an address or a network, such as 10.0.0.0/8, not {address!r}: the proxy's."
        ) from None
