"""The judge over HTTP: a FastAPI application around one loaded judge, and who may ask it, how often, and how much.

Answers are those of `Judge`; nothing is kept on disk.

Who may not ask is refused before the body is read. FastAPI reads and checks the body before it asks its dependencies,
and leaves out the pages that it adds itself, so host, token and rate are looked at in a middleware around it all.
"""

import hmac
import ipaddress
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.judge.answers import VOTES, Answer, Order, PairQuestion, Question, ResponseQuestion
from selftaught_assets.judge.batching import Batcher, TooManyWaitingError
from selftaught_assets.judge.judge import Judge
from selftaught_assets.method.verdicts import Verdict
from selftaught_assets.version import __version__

_MOST_CLIENTS = 10_000


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


Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 8.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Votes = Annotated[int, Field(ge=1, le=256), BeforeValidator(_whole)]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DOCS = Path(__file__).with_name("docs.html.jinja")
_UNGUARDED = {"/health"}
_COUNTED = {"/v1/compare", "/v1/score", "/health", "/metrics"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class CompareRequest(_Body):
    """A pair to compare."""

    instruction: Text
    response_a: Text
    response_b: Text
    votes: Votes = VOTES
    """Judgments in each order, at most; 1 is a single greedy one."""
    both_orders: bool = False
    """Judge with the responses swapped as well, and pool the votes."""
    abstain_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Confidence below which the answer is marked as abstained; all votes are then cast."""
    pair_id: Text | None = None
    """What the random streams belong to, the texts by default. `<benchmark>/<item_id>` gives the judgments that the
    recipe's `evaluation` counted."""
    reference: Text | None = None
    """An answer known to be good, for prompts that show one."""
    judgments: bool = False
    """Send the judgments themselves, too."""


class ShownJudgment(BaseModel):
    """A judgment; its text calls the second response A in order BA, its verdict does not.

    A judge that rates responses one by one has the order A or B instead, of which one was shown.
    """

    order: Order
    text: str
    verdict: Verdict


class CompareResponse(BaseModel):
    """The verdict on a pair."""

    verdict: Verdict
    confidence: float
    votes_a: int
    votes_b: int
    votes_tie: int
    votes_invalid: int
    abstained: bool
    judgments: list[ShownJudgment] | None
    judge: str
    """Digest of its weights."""


class ScoreRequest(_Body):
    """A response to rate."""

    instruction: Text
    response: Text
    votes: Votes = VOTES
    judgments: bool = False


class ScoreResponse(BaseModel):
    """The score of a response, 1 to 10; null where no judgment has a valid rating."""

    score: float | None
    ratings: list[int | None]
    judgments: list[str] | None
    judge: str


class Health(BaseModel):
    """The service is up."""

    status: Literal["ok"]
    judge: str
    digest: str
    waiting: int


class Refusal(BaseModel):
    """Why a request was not answered, in one sentence."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body cannot be read, or the Host header names another host."},
    401: {"model": Refusal, "description": "The bearer token is missing or wrong."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "A field is missing, of the wrong kind, or too long for the judge."},
    429: {"model": Refusal, "description": "Too many requests; Retry-After says when to come back."},
}


def build_app(
    judge: Judge,
    *,
    token: str | None = None,
    rate: float = 100.0,
    burst: int = 200,
    most_bytes: int = 1_048_576,
    hosts: AllowedHosts | None = None,
) -> FastAPI:
    """The service around a judge.

    Args:
        judge: loaded; the caller closes it after the server has ended.
        token: that clients must send as `Authorization: Bearer …`, but to /health; None asks for none.
        rate: requests a second that each client's address may send in the long run.
        burst: requests that it may send at once.
        most_bytes: of a request's body.
        hosts: names by which clients may ask for it; those of the loopback by default.
    """
    metrics = _Metrics()
    batchers: list[Batcher] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batchers.append(Batcher(judge, metrics.count_batch))
        yield
        await batchers.pop().close()

    app = FastAPI(
        title="selftaught judge",
        description=f"Compares and scores responses to instructions. Judge: {judge.name} ({judge.digest[:12]}).",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere.
        redoc_url=None,
    )
    bearer = BearerToken(token) if token else None
    described = [Security(bearer.scheme)] if bearer else []
    app.add_middleware(
        _Guard,
        hosts=hosts or AllowedHosts(LOOPBACK),
        token=bearer,
        limit=RateLimit(rate, burst),
        most_bytes=most_bytes,
        metrics=metrics,
    )
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(UserError, _refuse_mistake)
    app.add_exception_handler(TooManyWaitingError, _refuse_for_now)

    async def ask(question: Question) -> Answer:
        answer = await batchers[0].ask(question)
        if isinstance(answer, UserError):
            raise answer
        return answer

    @app.post("/v1/compare", responses=REFUSALS, dependencies=described)
    async def compare(body: CompareRequest) -> CompareResponse:
        """Says which of two responses to an instruction is better, by a majority vote."""
        texts = body.instruction, body.response_a, body.response_b
        question = PairQuestion(*texts, body.votes, body.both_orders, body.abstain_below, body.pair_id, body.reference)
        answer = (await ask(question))._asdict()
        shown = [ShownJudgment(**judgment._asdict()) for judgment in answer.pop("judgments")]
        return CompareResponse(**answer, judgments=shown if body.judgments else None, judge=judge.digest)

    @app.post("/v1/score", responses=REFUSALS, dependencies=described)
    async def score(body: ScoreRequest) -> ScoreResponse:
        """Rates a single response to an instruction from 1 to 10."""
        answer = await ask(ResponseQuestion(body.instruction, body.response, body.votes))
        return ScoreResponse(
            score=answer.score,
            ratings=list(answer.ratings),
            judgments=list(answer.judgments) if body.judgments else None,
            judge=judge.digest,
        )

    @app.get("/health", responses={status: REFUSALS[status] for status in (400, 429)})
    async def health() -> Health:
        """Says that the service is up, and which judge it has."""
        return Health(status="ok", judge=judge.name, digest=judge.digest, waiting=batchers[0].waiting)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={status: REFUSALS[status] for status in (400, 401, 429)},
        dependencies=described,
    )
    async def read_metrics() -> Response:
        """Counters and times in the format of Prometheus."""
        metrics.waiting.set(batchers[0].waiting)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        page = _page().render(api=app.openapi(), address=str(request.base_url).rstrip("/"), nonce=nonce)
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})

    return app


def _page() -> jinja2.Template:
    """What people read of the service, from the same description as programs; it loads nothing."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_DOCS.read_text(encoding="utf-8"))


class _Metrics:
    """What the service counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kind = {"registry": self.registry}
        self.requests = Counter("selftaught_requests", "Requests by path and status.", ["path", "status"], **kind)
        self.seconds = Histogram("selftaught_request_seconds", "Time to the response.", ["path"], **kind)
        self.batches = Histogram(
            "selftaught_batch_questions", "Questions judged together.", buckets=(1, 2, 4, 8, 16, 32, 64), **kind
        )
        self.in_flight = Gauge("selftaught_requests_in_flight", "Requests not answered yet.", ["path"], **kind)
        self.judgments = Counter("selftaught_judgments", "Judgments written.", **kind)
        self.waiting = Gauge("selftaught_waiting_questions", "Questions that wait for the judge.", **kind)

    def count_batch(self, answers: Sequence[Answer]) -> None:
        self.batches.observe(len(answers))
        self.judgments.inc(sum(len(answer.judgments) for answer in answers if not isinstance(answer, UserError)))


class _Guard:
    """Refuses who asks for another host, has no token or asks too often, before anything is read, and bodies that are
    too large; and counts every request."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: AllowedHosts,
        token: BearerToken | None,
        limit: RateLimit,
        most_bytes: int,
        metrics: _Metrics,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._limit = limit
        self._most_bytes = most_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        path = scope["path"] if scope["path"] in _COUNTED else "other"
        self._metrics.in_flight.labels(path).inc()
        try:
            receive = limited(receive, self._most_bytes)
            await (await self._refusal(scope) or self._app)(scope, receive, send_noting_status)
        finally:
            self._metrics.in_flight.labels(path).dec()
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)

    async def _refusal(self, scope: Scope) -> Response | None:
        if wait := self._limit.seconds_to_wait(scope["client"][0] if scope["client"] else ""):
            return _come_back("Too many requests: come back later.", wait)
        if not all(self._hosts.admits(value.decode("latin-1")) for name, value in scope["headers"] if name == b"host"):
            return _refusal(400, "The service is not known by this host name: start it with --allow-host NAME.")
        if self._token is None or scope["path"] in _UNGUARDED or await self._token.admits(HTTPConnection(scope)):
            return None
        return _refusal(401, "The bearer token is missing or wrong.", {"WWW-Authenticate": "Bearer"})


def _refuse_invalid(request: Request, error: RequestValidationError) -> Response:
    """One sentence on the first mistake. What was sent is not repeated: it may be long, secret or no text."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    if first["type"] == "string_pattern_mismatch":  # The pattern of `Text`.
        return _refusal(422, f"{place[:100]}: there is nothing but white space in it")
    return _refusal(422, f"{place[:100]}: {as_clause(first['msg'])}")


def _refuse_mistake(request: Request, error: UserError) -> Response:
    return _refusal(422, str(error))


def _refuse_for_now(request: Request, error: TooManyWaitingError) -> Response:
    return _come_back("Too many questions are waiting for the judge: come back later.", 5.0)


def _come_back(sentence: str, seconds: float) -> Response:
    return _refusal(429, sentence, {"Retry-After": str(math.ceil(seconds))})


def _refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    detail = sentence.encode("utf-8", "replace").decode()
    return JSONResponse({"detail": detail}, status, headers)
