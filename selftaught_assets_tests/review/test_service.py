"""The service of the review page on a real server: who may ask, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from selftaught_assets.review.answers import read_answers
from selftaught_assets.review.rows import read_rows
from selftaught_assets.review.service import Review, build_app
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests import patient
from selftaught_assets_tests.judge.serving import served
from selftaught_assets_tests.review.tables import ITERATION, layout_with_pairs


class Place(NamedTuple):
    """A served review of pairs."""

    address: str
    review: Review

    def answer(self, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
        body = {"review": self.review.key, "id": self.review.rows[0].id, "answer": "A", "note": ""} | changes
        headers = {"Origin": self.address, "Content-Type": "application/json"} | (headers or {})
        return patient.post(f"{self.address}/api/answers", content=json.dumps(body), headers=headers)


def _review(layout: Layout, reviewer: str = "anna") -> Review:
    return Review(layout, "pairs", ITERATION, reviewer, read_rows(layout, "pairs", ITERATION, n=50, seed=1))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    review = _review(layout_with_pairs(tmp_path))
    with served(build_app(review)) as address:
        yield Place(address, review)


def test_an_answer_is_on_the_disk_when_it_is_confirmed(place: Place) -> None:
    label = place.review.rows[0].label
    assert place.answer(answer=label, note="clear").status_code == 204
    (stored,) = read_answers(place.review.layout, "pairs")
    assert (stored.id, stored.answer, stored.label, stored.agrees) == (place.review.rows[0].id, label, label, True)
    assert (stored.kind, stored.iteration, stored.reviewer, stored.note) == ("pairs", ITERATION, "anna", "clear")


def test_the_page_gets_rows_and_own_answers_but_no_label(place: Place) -> None:
    place.answer(answer="unsure", note="hm")
    shown = patient.get(f"{place.address}/api/review").json()
    assert [(row["answer"], row["note"]) for row in shown["rows"]] == [("unsure", "hm"), *[(None, "")] * 4]
    assert "label" not in shown["rows"][0]
    assert set(shown["rows"][0]) == {"id", "texts", "answer", "note"}


def test_who_answered_before_finds_it_and_another_reviewer_does_not(place: Place) -> None:
    place.answer()
    for reviewer, expected in (("anna", "A"), ("ben", None)):
        with served(build_app(_review(place.review.layout, reviewer))) as address:
            assert patient.get(f"{address}/api/review").json()["rows"][0]["answer"] == expected


@pytest.mark.parametrize("path", ["/", "/review.js", "/api/review"])
def test_another_host_name_is_refused(place: Place, path: str) -> None:
    refused = patient.get(f"{place.address}{path}", headers={"Host": "attacker.example"})
    assert refused.status_code == 400
    assert "instruction" not in refused.text


@pytest.mark.parametrize("origin", ["http://attacker.example", "null", "http://127.0.0.1:1", ""])
def test_an_answer_from_another_page_is_refused(place: Place, origin: str) -> None:
    assert place.answer({"Origin": origin}).status_code == 403
    assert not place.review.layout.reviews("pairs").exists()


def test_an_answer_without_an_origin_is_refused(place: Place) -> None:
    body = {"review": place.review.key, "id": place.review.rows[0].id, "answer": "A"}
    assert patient.post(f"{place.address}/api/answers", json=body).status_code == 403


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"answer": "good"}, 422),
        ({"answer": "C"}, 422),
        ({"answer": 1}, 422),
        ({"id": "0" * 16}, 422),
        ({"id": None}, 422),
        ({"note": "x" * 4001}, 422),
        ({"note": "\ud800"}, 422),
        ({"further": 1}, 422),
        ({"review": "another"}, 409),
    ],
)
def test_what_is_no_answer_is_refused_in_one_sentence_and_not_stored(
    place: Place, changes: dict[str, Any], status: int
) -> None:
    refused = place.answer(**changes)
    assert refused.status_code == status
    assert isinstance(refused.json()["detail"], str)
    assert not place.review.layout.reviews("pairs").exists()


def test_a_body_that_is_no_json_is_refused(place: Place) -> None:
    headers = {"Origin": place.address, "Content-Type": "application/json"}
    assert patient.post(f"{place.address}/api/answers", content=b"{", headers=headers).status_code == 422


def test_a_damaged_line_is_named_to_the_page(place: Place) -> None:
    place.answer()
    with place.review.layout.reviews("pairs").open("a") as file:
        file.write("{\n")
    refused = patient.get(f"{place.address}/api/review")
    assert refused.status_code == 500
    assert "line 2" in refused.json()["detail"]


def test_every_response_forbids_foreign_and_inline_code(place: Place) -> None:
    for path in ("/", "/review.js", "/review.css", "/api/review", "/nothing"):
        headers = patient.get(f"{place.address}{path}").headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
