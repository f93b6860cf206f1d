"""The judge over HTTP: a FastAPI application around one loaded judge.

Answers are those of `Judge`; nothing is kept on disk. A question whose client has left is taken back.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.judge.answers import VOTES, Answer, Order, PairQuestion, Question, ResponseQuestion
from selftaught_assets.judge.batching import Batcher, TooManyWaitingError
from selftaught_assets.judge.guards import AllowedHosts, BearerToken, Guard, Metrics, RateLimit, come_back, refusal
from selftaught_assets.judge.judge import Judge
from selftaught_assets.method.verdicts import Verdict
from selftaught_assets.version import __version__

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 8.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Votes = Annotated[int, Field(ge=1, le=256), BeforeValidator(_whole)]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DOCS = Path(__file__).with_name("docs.html.jinja")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _first_unknown(cls, sent: Any) -> Any:
        """Each unknown field costs an error, and a body has room for tens of thousands: the first one is told."""
        if not isinstance(sent, dict):
            return sent
        unknown = next((name for name in sent if name not in cls.model_fields), None)
        return {name: value for name, value in sent.items() if name in cls.model_fields or name == unknown}


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
    elicited: bool
    """Whether it had no verdict, and was asked for it; its text ends with it."""


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


class Readiness(BaseModel):
    """Whether a question would be taken now."""

    status: Literal["ready", "full", "stopping"]
    waiting: int


class Refusal(BaseModel):
    """Why a request was not answered, in one sentence."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body cannot be read, or the Host header names another host."},
    408: {"model": Refusal, "description": "The body did not arrive in time."},
    401: {"model": Refusal, "description": "The bearer token is missing or wrong."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "A field is missing, of the wrong kind, or too long for the judge."},
    429: {"model": Refusal, "description": "Too many requests; Retry-After says when to come back."},
    503: {"model": Refusal, "description": "The service is stopping, or answers too many requests."},
    504: {"model": Refusal, "description": "The judge took longer than the time limit."},
}


def build_app(
    judge: Judge,
    *,
    token: str | None = None,
    rate: float = 100.0,
    burst: int = 200,
    most_bytes: int = 1_048_576,
    body_seconds: float = 30.0,
    answer_seconds: float = 300.0,
    most_requests: int = 2048,
    hosts: AllowedHosts | None = None,
) -> FastAPI:
    """The service around a judge.

    Args:
        judge: loaded; the caller closes it after the server has ended.
        token: that clients must send as `Authorization: Bearer …`, but to /health and /ready; None asks for none.
        rate: requests a second that each client's address may send in the long run.
        burst: requests that it may send at once.
        most_bytes: of a request's body.
        body_seconds: until all of the body has to be there.
        answer_seconds: after which a question is given up.
        most_requests: that are answered at a time.
        hosts: names by which clients may ask for it; those of the loopback by default.

    Returns:
        The application. Whoever serves it sets its `state.is_stopping` before it takes no more connections.
    """
    metrics = Metrics(answer_seconds)
    batchers: list[Batcher] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batchers.append(Batcher(judge.voting(), metrics.count))
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
    app.state.is_stopping = False
    bearer = BearerToken(token) if token else None
    described = [Security(bearer.scheme)] if bearer else []
    app.add_middleware(
        Guard,
        hosts=hosts or AllowedHosts(LOOPBACK),
        token=bearer,
        limit=RateLimit(rate, burst),
        most_bytes=most_bytes,
        body_seconds=body_seconds,
        most_requests=most_requests,
        metrics=metrics,
    )
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(UserError, _refuse_mistake)
    app.add_exception_handler(TooManyWaitingError, _refuse_for_now)
    app.add_exception_handler(_ClientLeftError, _say_nothing)

    async def ask(question: Question, request: Request) -> Answer:
        answering, leaving = (asyncio.create_task(work) for work in (batchers[0].ask(question), _left(request)))
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait((answering, leaving), timeout=answer_seconds, return_when=first)
            if answering.done():
                answer = answering.result()
                if isinstance(answer, UserError):
                    raise answer
                return answer
            if leaving.done():
                raise _ClientLeftError
            raise HTTPException(504, f"The judge did not answer within {answer_seconds:g} seconds.")
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    @app.post("/v1/compare", responses=REFUSALS, dependencies=described)
    async def compare(body: CompareRequest, request: Request) -> CompareResponse:
        """Says which of two responses to an instruction is better, by a majority vote."""
        texts = body.instruction, body.response_a, body.response_b
        question = PairQuestion(*texts, body.votes, body.both_orders, body.abstain_below, body.pair_id, body.reference)
        answer = (await ask(question, request))._asdict()
        shown = [ShownJudgment(**judgment._asdict()) for judgment in answer.pop("judgments")]
        return CompareResponse(**answer, judgments=shown if body.judgments else None, judge=judge.digest)

    @app.post("/v1/score", responses=REFUSALS, dependencies=described)
    async def score(body: ScoreRequest, request: Request) -> ScoreResponse:
        """Rates a single response to an instruction from 1 to 10."""
        answer = await ask(ResponseQuestion(body.instruction, body.response, body.votes), request)
        return ScoreResponse(
            score=answer.score,
            ratings=list(answer.ratings),
            judgments=list(answer.judgments) if body.judgments else None,
            judge=judge.digest,
        )

    @app.get("/health", responses={400: REFUSALS[400]})
    async def health() -> Health:
        """Says that the service is up, and which judge it has."""
        return Health(status="ok", judge=judge.name, digest=judge.digest, waiting=batchers[0].waiting)

    @app.get("/ready", responses={400: REFUSALS[400], 503: {"model": Readiness, "description": "Not now."}})
    async def ready(response: Response) -> Readiness:
        """Says whether questions are taken: not while too many wait, nor while the service stops."""
        status = "stopping" if app.state.is_stopping else "full" if batchers[0].is_full else "ready"
        response.status_code = 200 if status == "ready" else 503
        return Readiness(status=status, waiting=batchers[0].waiting)

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


class _ClientLeftError(Exception):
    """Nobody is there to be answered."""


async def _left(request: Request) -> None:
    """Returns once the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _say_nothing(request: Request, error: _ClientLeftError) -> Response:
    return Response(status_code=499)


def _refuse_invalid(request: Request, error: RequestValidationError) -> Response:
    """One sentence on the first mistake. What was sent is not repeated: it may be long, secret or no text."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    if first["type"] == "string_pattern_mismatch":  # The pattern of `Text`.
        return refusal(422, f"{place[:100]}: there is nothing but white space in it")
    return refusal(422, f"{place[:100]}: {as_clause(first['msg'])}")


def _refuse_mistake(request: Request, error: UserError) -> Response:
    return refusal(422, str(error))


def _refuse_for_now(request: Request, error: TooManyWaitingError) -> Response:
    return come_back("Too many questions are waiting for the judge: come back later.", 5.0)
