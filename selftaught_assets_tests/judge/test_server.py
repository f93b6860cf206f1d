"""Clients that hang up, stall, crowd and lie, against a real server: what they cost, and what the others notice."""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.judge import batching
from selftaught_assets.judge.server import JudgeServer, Limits, network, server_of
from selftaught_assets.judge.service import build_app
from selftaught_assets_tests import patient
from selftaught_assets_tests.judge.scribe import Scribe, judge_of, until
from selftaught_assets_tests.judge.serving import served

FOR_EVER = 600.0
PATIENT = Limits(FOR_EVER, FOR_EVER, connections=100)
QUICK = {"instruction": "i", "response_a": "a", "response_b": "b", "votes": 1}
SLOW = QUICK | {"response_a": "slow"}
HALF_A_HEADER = b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nX-Slow:"
HALF_A_BODY = b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"


@contextmanager
def serving(
    scribe: Scribe, limits: Limits = PATIENT, trusted: tuple[str, ...] = (), **options: float
) -> Iterator[tuple[str, JudgeServer]]:
    known = {"body_seconds": limits.body_seconds, "most_requests": limits.connections}
    app = build_app(judge_of(scribe), **{"rate": 1e6, "burst": 1_000_000} | known | options)
    server = server_of(app, "127.0.0.1", 0, limits, trusted, log_level="warning")
    with served(app, server=server) as address:
        try:
            yield address, server
        finally:
            scribe.may_go_on.set()


def sent(address: str, data: bytes) -> socket.socket:
    """A connection on which this was sent."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(data)
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    said = b""
    with connection:
        try:
            while part := connection.recv(65536):
                said += part
        except ConnectionResetError:
            pass
    return said


def counted(address: str, name: str) -> dict[str, float]:
    """A metric by its labels."""
    lines = patient.get(f"{address}/metrics").text.splitlines()
    found = (re.match(rf"{name}({{.*}})? (\S+)$", line) for line in lines)
    return {match[1] or "": float(match[2]) for match in found if match}


def test_questions_that_wait_are_not_judged_once_their_clients_have_hung_up() -> None:
    scribe = Scribe()
    with serving(scribe) as (address, _):
        gone = []
        for number in range(90):
            body = httpx.Request("POST", address, json=SLOW | {"response_a": f"slow {number}"}).content
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            gone.append(sent(address, b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\n" + kind + body))
        until(lambda: scribe.held and patient.get(f"{address}/health").json()["waiting"] == 90 - len(scribe.held))
        begun = len(scribe.held)
        for connection in gone:
            connection.close()
        until(lambda: patient.get(f"{address}/health").json()["waiting"] == 0)
        scribe.may_go_on.set()
        assert patient.post(f"{address}/v1/compare", json=QUICK).status_code == 200
        assert len(scribe.seen) == begun + 1 < 90
        requests = counted(address, "selftaught_requests_total")
        assert requests['{path="/v1/compare",status="499"}'] == 90
        assert {labels for labels in requests if "compare" in labels} == {
            f'{{path="/v1/compare",status="{status}"}}' for status in (200, 499)
        }
        assert counted(address, "selftaught_request_seconds_count")['{path="/v1/compare"}'] == 1


def test_headers_that_do_not_arrive_end_the_connection() -> None:
    with serving(Scribe(), Limits(header_seconds=0.3, body_seconds=FOR_EVER)) as (address, _):
        slow = [
            sent(address, data) for data in (b"", HALF_A_HEADER, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGE")
        ]
        said = [read_to_the_end(connection) for connection in slow]
        assert said[:2] == [b"", b""]
        assert said[2].startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_arrive_is_408_and_ends_the_connection() -> None:
    with serving(Scribe(), Limits(header_seconds=FOR_EVER, body_seconds=0.3)) as (address, _):
        assert read_to_the_end(sent(address, HALF_A_BODY)).startswith(b"HTTP/1.1 408")
        assert counted(address, "selftaught_requests_total")['{path="/v1/compare",status="408"}'] == 1


def test_who_goes_on_sending_after_a_refusal_is_cut_off() -> None:
    limits = Limits(header_seconds=FOR_EVER, body_seconds=0.1)
    with serving(Scribe(), limits, most_bytes=10) as (address, _):
        connection = sent(address, HALF_A_BODY + b"x" * 20)
        ended = threading.Event()

        def dribble() -> None:
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        with ThreadPoolExecutor(1) as dribbler:
            dribbler.submit(dribble)
            assert read_to_the_end(connection).startswith(b"HTTP/1.1 413")
            ended.set()


def test_a_body_that_breaks_off_into_nonsense_is_no_defect(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(Scribe()) as (address, _):
        assert read_to_the_end(sent(address, head + b"nonsense\r\n")).startswith(b"HTTP/1.1 400")
        connection = sent(address, head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")
        connection.sendall(b"nonsense\r\n")
        assert b"HTTP" not in read_to_the_end(connection)
    assert "Traceback" not in capsys.readouterr().err + caplog.text


def test_a_last_response_that_nobody_takes_does_not_keep_the_connection() -> None:
    with serving(Scribe(), Limits(FOR_EVER, 0.1)) as (address, server):
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        body = httpx.Request("POST", address, json=QUICK | {"instruction": "i" * 30_000, "judgments": True}).content
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        host, port = address.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            connection.connect((host, int(port)))
            connection.sendall(b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\n" + kind + body)
            until(lambda: server.server_state.total_requests)
            until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("half", [b"", HALF_A_HEADER, HALF_A_BODY])
def test_connections_that_keep_us_waiting_make_room_for_others(half: bytes) -> None:
    with serving(Scribe(), PATIENT._replace(connections=8)) as (address, server), ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(sent(address, half))
        for _ in range(3):
            assert patient.post(f"{address}/v1/compare", json=QUICK).status_code == 200
            assert len(server.server_state.connections) <= 8


def test_where_all_connections_are_at_work_a_further_question_is_503_and_the_service_alive() -> None:
    scribe = Scribe()
    with serving(scribe, PATIENT._replace(connections=4)) as (address, server), ThreadPoolExecutor(4) as clients:
        bodies = [SLOW | {"response_a": f"slow {number}"} for number in range(4)]
        asked = [clients.submit(patient.post, f"{address}/v1/compare", json=body) for body in bodies]
        until(lambda: len(server.server_state.tasks) == 4)  # A further connection would drop one that is not read yet.
        refused = patient.post(f"{address}/v1/compare", json=QUICK)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert patient.get(f"{address}/health").status_code == 200
        scribe.may_go_on.set()
        assert [answer.result().status_code for answer in asked] == [200] * 4


def test_half_a_request_does_not_keep_the_service_from_stopping() -> None:
    with serving(Scribe(), PATIENT._replace(stop_seconds=FOR_EVER)) as (address, server):
        slow = [sent(address, data) for data in (b"", HALF_A_HEADER, HALF_A_BODY)]
        until(lambda: len(server.server_state.tasks) == 1)
        server.should_exit = True
        for connection in slow:
            read_to_the_end(connection)
    # `served` waits for the thread to end.


def test_what_is_in_flight_has_a_time_limit_when_the_service_stops() -> None:
    scribe = Scribe()
    with serving(scribe, PATIENT._replace(stop_seconds=1)) as (address, server), ThreadPoolExecutor(1) as client:
        asked = client.submit(patient.post, f"{address}/v1/compare", json=SLOW)
        until(lambda: scribe.held)
        server.should_exit = True
        assert (asked.result().status_code, asked.result().json()["detail"]) == (503, "The service is stopping.")
        assert not scribe.may_go_on.is_set()
        scribe.may_go_on.set()


def test_a_question_that_takes_too_long_is_504() -> None:
    scribe = Scribe()
    with serving(scribe, answer_seconds=0.2) as (address, _):
        assert patient.post(f"{address}/v1/compare", json=SLOW).status_code == 504


def test_times_are_counted_up_to_the_time_limit() -> None:
    with serving(Scribe(), answer_seconds=45.0) as (address, _):
        patient.get(f"{address}/health")
        bounds = {
            float(re.search(r'le="(.*?)"', labels)[1])
            for labels in counted(address, "selftaught_request_seconds_bucket")
            if "health" in labels
        }
        assert sorted(bounds)[-3:] == [25.0, 45.0, float("inf")]


@pytest.mark.parametrize(("trusted", "statuses"), [((), [200, 429, 429]), (("127.0.0.0/8",), [200, 200, 429])])
def test_only_a_proxy_that_is_trusted_says_who_the_client_is(trusted: tuple[str, ...], statuses: list[int]) -> None:
    with serving(Scribe(), trusted=trusted, rate=0.01, burst=1) as (address, _):
        told = [{"X-Forwarded-For": client} for client in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
        assert [patient.get(f"{address}/metrics", headers=one).status_code for one in told] == statuses


@pytest.mark.parametrize("address", ["*", "proxy.example", "10.0.0.0/99", ""])
def test_a_proxy_is_an_address_or_a_network(address: str) -> None:
    with pytest.raises(UserError, match="--trust-proxy takes an address"):
        network(address)


def test_probes_are_not_limited() -> None:
    with serving(Scribe(), rate=0.01, burst=1) as (address, _):
        for path in ("/health", "/ready") * 3:
            assert patient.get(f"{address}{path}").status_code == 200
        assert [patient.get(f"{address}/metrics").status_code for _ in range(2)] == [200, 429]


def test_a_full_queue_is_alive_but_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_TOGETHER", 1)
    monkeypatch.setattr(batching, "MOST_WAITING", 1)
    scribe = Scribe()
    with serving(scribe) as (address, _), ThreadPoolExecutor(2) as clients:
        assert patient.get(f"{address}/ready").json() == {"status": "ready", "waiting": 0}
        asked = [clients.submit(patient.post, f"{address}/v1/compare", json=SLOW)]
        until(lambda: scribe.held)
        asked.append(clients.submit(patient.post, f"{address}/v1/compare", json=QUICK))
        until(lambda: patient.get(f"{address}/health").json()["waiting"] == 1)
        full = patient.get(f"{address}/ready")
        assert (full.status_code, full.json()["status"]) == (503, "full")
        assert patient.get(f"{address}/health").status_code == 200
        scribe.may_go_on.set()
        assert [answer.result().status_code for answer in asked] == [200, 200]
        assert patient.get(f"{address}/ready").status_code == 200


def test_a_service_that_stops_is_alive_but_not_ready() -> None:
    with serving(Scribe()) as (address, server):
        server.config.app.state.is_stopping = True
        ready = patient.get(f"{address}/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        assert patient.get(f"{address}/health").status_code == 200
