import asyncio

import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from selftaught_assets.judge.guards import AllowedHosts, BearerToken, Guard, Metrics, RateLimit


def admitted(token: str, *headers: bytes) -> bool:
    scope = {"type": "http", "headers": [(b"authorization", header) for header in headers]}
    return asyncio.run(BearerToken(token).admits(HTTPConnection(scope)))


@pytest.mark.parametrize("header", [b"Bearer geheim", b"bearer geheim", b"BEARER  geheim "])
def test_the_token_is_admitted(header: bytes) -> None:
    assert admitted("geheim", header)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"geheim",
        b"Bearer",
        b"Bearer ",
        b"Bearer geheim2",
        b"Bearer gehei",
        b"Basic geheim",
        b"Bearer \xff",
        b"\xff",
    ],
)
def test_nothing_but_the_token_is_admitted(header: bytes) -> None:
    assert not admitted("geheim", header)
    assert not admitted("geheim")


def test_a_token_may_have_letters_outside_ascii() -> None:
    assert admitted("\u00e0\u00e0", "Bearer \u00e0\u00e0".encode())
    assert not admitted("\u00e0\u00e0", "Bearer \u00e0".encode())


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost.:80", "127.0.0.1:8000", "[::1]:8000", "a.judge.example", ""]
)
def test_own_names_are_admitted_with_any_port(host: str) -> None:
    assert AllowedHosts(["127.0.0.1", "localhost", "::1", "*.judge.example"]).admits(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8000", "judge.example", "evil-judge.example", "10.0.0.1"],
)
def test_names_of_others_are_not_admitted(host: str) -> None:
    assert not AllowedHosts(["127.0.0.1", "localhost", "*.judge.example"]).admits(host)


def test_a_service_on_every_address_is_asked_for_by_any_number_but_not_by_any_name() -> None:
    hosts = AllowedHosts(["0.0.0.0"], addresses=True)
    assert hosts.admits("10.0.0.1:8000")
    assert hosts.admits("[fe80::1]:8000")
    assert not hosts.admits("evil.example")
    assert AllowedHosts(["*"]).admits("evil.example")


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_then_so_many_a_second() -> None:
    clock = _Clock()
    limit = RateLimit(rate=2.0, burst=3, clock=clock)
    assert [limit.seconds_to_wait("one") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.25
    assert limit.seconds_to_wait("one") == pytest.approx(0.25)
    clock.now += 0.25
    assert [limit.seconds_to_wait("one") for _ in range(2)] == [0.0, 0.5]


def test_clients_do_not_pay_for_each_other() -> None:
    limit = RateLimit(rate=1.0, burst=1, clock=_Clock())
    assert [limit.seconds_to_wait(client) for client in ("one", "two", "one")] == [0.0, 0.0, 1.0]


def test_memory_for_clients_is_bounded() -> None:
    limit = RateLimit(rate=1.0, burst=1, clock=_Clock())
    for client in range(20_000):
        limit.seconds_to_wait(str(client))
    assert len(limit._buckets) == 10_000
    assert limit.seconds_to_wait("19999") == 1.0


@pytest.mark.parametrize(("seconds", "status"), [(0.01, 200), (60.0, 503)])
def test_who_comes_while_a_request_ends_is_not_refused_for_it(seconds: float, status: int) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/compare":
            begun.set()
            await may_end.wait()
        await PlainTextResponse("done")(scope, receive, send)

    guard = Guard(
        application,
        hosts=AllowedHosts(["localhost"]),
        token=None,
        limit=RateLimit(1e6, 1_000_000),
        most_bytes=1000,
        body_seconds=60,
        most_requests=1,
        metrics=Metrics(60),
    )

    async def asked() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://localhost") as client:
            first = asyncio.create_task(client.get("/v1/compare"))
            await begun.wait()
            asyncio.get_running_loop().call_later(seconds, may_end.set)
            second = await client.get("/v1/score")
            may_end.set()
            await first
            return second.status_code

    assert asyncio.run(asked()) == status
