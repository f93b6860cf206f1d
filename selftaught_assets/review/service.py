"""The page on which a person reviews rows, as a small FastAPI application.

It is for one person's browser on this machine. A page of another site can neither read it (its host name is not ours,
even if it resolves to this machine) nor answer in the person's name (the origin is not ours). All text of models is
data: the page shows it as text only, and its policy refuses any script but its own.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict
from starlette.middleware.trustedhost import TrustedHostMiddleware

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.method.identity import digest
from selftaught_assets.review.answers import (
    ANSWERS,
    Answer,
    Kind,
    Note,
    StoredAnswer,
    agrees,
    append_answer,
    now,
    read_answers,
)
from selftaught_assets.review.rows import Row
from selftaught_assets.storage.layout import Layout

HOSTS = ("127.0.0.1", "localhost")
PAGE = Path(__file__).resolve().parent / "page"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_QUESTIONS: dict[Kind, str] = {
    "pairs": "Which response is the better answer to the instruction?",
    "judgments": "Is the judgment good: are its reasoning and its verdict right?",
    "instructions": "Is this a good instruction: clear, complete, and worth answering?",
}


class Review(NamedTuple):
    """One person's review of rows of one table."""

    layout: Layout
    kind: Kind
    iteration: str
    reviewer: str
    rows: list[Row]

    @property
    def key(self) -> str:
        """Tells this review from others: what a browser has not sent yet is sent to this one only."""
        return digest(self.layout.recipe, self.kind, self.iteration, self.reviewer, [row.id for row in self.rows])[:16]


class GivenAnswer(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    review: str
    id: str
    answer: Answer | None
    note: Note = ""


def build_app(review: Review) -> FastAPI:
    """The application around one review; every answer is on the disk before it is confirmed."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(UserError, _refuse_mistake)
    labels = {row.id: row.label for row in review.rows}

    @app.middleware("http")
    async def guard(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        own = f"http://{request.headers.get('host')}"
        if request.method != "GET" and request.headers.get("origin") != own:
            response: Response = JSONResponse({"detail": "Only the page of this review may answer."}, 403)
        else:
            response = await proceed(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/api/review")
    def shown() -> dict[str, Any]:
        given = _given(review)
        return {
            "key": review.key,
            "kind": review.kind,
            "recipe": review.layout.recipe,
            "iteration": review.iteration,
            "reviewer": review.reviewer,
            "question": _QUESTIONS[review.kind],
            "answers": ANSWERS[review.kind],
            "rows": [
                {"id": row.id, "texts": [text._asdict() for text in row.texts], **given.get(row.id, _NOT_GIVEN)}
                for row in review.rows
            ],
        }

    @app.post("/api/answers", status_code=204)
    def answer(given: GivenAnswer) -> None:
        if given.review != review.key:
            raise HTTPException(409, "This page belongs to another review: reload it.")
        if given.id not in labels or given.answer not in (*ANSWERS[review.kind], None):
            raise HTTPException(422, f"This review has no row {given.id[:32]!r} with the answer {given.answer!r}.")
        label = labels[given.id]
        stored = StoredAnswer(
            kind=review.kind,
            iteration=review.iteration,
            id=given.id,
            answer=given.answer,
            label=label,
            agrees=agrees(given.answer, label),
            reviewer=review.reviewer,
            time=now(),
            note=given.note or None,
        )
        append_answer(review.layout, stored)

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


_NOT_GIVEN: dict[str, Any] = {"answer": None, "note": ""}


def _given(review: Review) -> dict[str, dict[str, Any]]:
    """The reviewer's newest answers by row. Labels are not among them."""
    return {
        answer.id: {"answer": answer.answer, "note": answer.note or ""}
        for answer in read_answers(review.layout, review.kind)
        if (answer.iteration, answer.reviewer) == (review.iteration, review.reviewer)
    }


def _refuse_invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return JSONResponse({"detail": f"{place[:100]}: {as_clause(first['msg'])}"}, 422)


def _refuse_mistake(request: Request, error: UserError) -> Response:
    return JSONResponse({"detail": str(error)}, 500)
