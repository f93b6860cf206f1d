"""The service on a real server with the real seed model."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from selftaught_assets.judge import Judge
from selftaught_assets.judge.answers import PairQuestion, ResponseQuestion
from selftaught_assets.judge.guards import AllowedHosts
from selftaught_assets.judge.service import CompareRequest, build_app
from selftaught_assets_tests import patient
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.judge.conftest import Workplace
from selftaught_assets_tests.judge.serving import served

PAIR = {"instruction": "Sort the numbers up : 27 19 24", "response_a": "19 27 24", "response_b": "19 24 27", "votes": 2}


@pytest.fixture(scope="module")
def address(seed_judge: Judge) -> Iterator[str]:
    with served(build_app(seed_judge, rate=1e6, burst=1_000_000)) as address:
        yield address


def test_compare_answers_as_python_does(address: str, seed_judge: Judge) -> None:
    answer = patient.post(f"{address}/v1/compare", json=PAIR | {"both_orders": True, "judgments": True})
    assert answer.status_code == 200
    (expected,) = seed_judge.answer([PairQuestion(*list(PAIR.values())[:3], votes=2, both_orders=True)])
    assert answer.json() == {
        **expected._asdict(),
        "judgments": [judgment._asdict() for judgment in expected.judgments],
        "judge": seed_judge.digest,
    }


def test_judgments_are_left_out_unless_wanted(address: str) -> None:
    assert patient.post(f"{address}/v1/compare", json=PAIR).json()["judgments"] is None


def test_score_answers_as_python_does(address: str, seed_judge: Judge) -> None:
    body = {"instruction": "Number of tools : gauge ochre red", "response": "1", "votes": 2}
    answer = patient.post(f"{address}/v1/score", json=body | {"judgments": True}).json()
    (expected,) = seed_judge.answer([ResponseQuestion(*body.values())])
    assert answer["ratings"] == list(expected.ratings)
    assert answer["judgments"] == list(expected.judgments)


def test_health_names_the_judge_and_the_page_describes_the_service(address: str, seed_judge: Judge) -> None:
    health = patient.get(f"{address}/health").json()
    assert health == {"status": "ok", "judge": "seed", "digest": seed_judge.digest, "waiting": 0}
    assert "/v1/compare" in patient.get(f"{address}/openapi.json").json()["paths"]


def test_the_page_says_what_can_be_asked_and_loads_nothing(address: str) -> None:
    page = patient.get(f"{address}/docs")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for said in ("POST /v1/compare", "GET /health", "both_orders", "Judgments in each order, at most", "seed"):
        assert said in page.text
    assert re.findall(r"<(?:script|link|img|iframe)|url\(|@import", page.text) == []
    assert re.findall(r'(?:src|href)="([^"]*)"', page.text) == ["openapi.json"]
    assert patient.get(f"{address}/redoc").status_code == 404


def test_a_page_of_another_site_cannot_ask_under_its_own_name(address: str, seed_judge: Judge) -> None:
    for path in ("/health", "/docs", "/metrics"):
        refused = patient.get(f"{address}{path}", headers={"Host": "evil.example"})
        assert (refused.status_code, "--allow-host" in refused.json()["detail"]) == (400, True)
    assert patient.post(f"{address}/v1/compare", json=PAIR, headers={"Host": "evil.example:80"}).status_code == 400
    with served(build_app(seed_judge, hosts=AllowedHosts(["judge.example"]))) as behind_a_proxy:
        assert patient.get(f"{behind_a_proxy}/health", headers={"Host": "judge.example"}).status_code == 200


@pytest.mark.slow
def test_two_hundred_requests_over_twenty_connections_get_each_its_own_answer(
    address: str, seed_judge: Judge, pairs: pl.DataFrame
) -> None:
    texts = list(pairs.select("instruction", "response_a", "response_b").iter_rows())
    questions = [PairQuestion(*texts[n % len(texts)], 1 + n % 3, n % 2 == 0) for n in range(200)]
    asked_once = list(dict.fromkeys(questions))
    expected = dict(zip(asked_once, seed_judge.answer(asked_once), strict=True))
    before = _metrics(address)

    def ask(part: list[PairQuestion]) -> list[httpx.Response]:
        with httpx.Client(timeout=120) as client:
            return [
                client.post(f"{address}/v1/compare", json=question._asdict() | {"judgments": True}) for question in part
            ]

    with ThreadPoolExecutor(20) as connections:
        parts = [questions[start::20] for start in range(20)]
        answers = list(connections.map(ask, parts))

    for part, found in zip(parts, answers, strict=True):
        for question, answer in zip(part, found, strict=True):
            assert answer.status_code == 200
            shown = answer.json()
            assert shown["verdict"] == expected[question].verdict
            assert [one["text"] for one in shown["judgments"]] == [one.text for one in expected[question].judgments]
    after = _metrics(address)
    asked = 'selftaught_requests_total{path="/v1/compare",status="200"}'
    assert after[asked] - before.get(asked, 0) == 200
    batches = after["selftaught_batch_questions_count"] - before.get("selftaught_batch_questions_count", 0)
    assert batches < 100  # They were judged together, not one by one.


def _metrics(address: str) -> dict[str, float]:
    lines = patient.get(f"{address}/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"instruction": None}, "instruction: input should be a valid string"),
        ({"response_a": ""}, "response_a: string should have at least 1 character"),
        ({"response_a": " \n"}, "response_a: there is nothing but white space in it"),
        ({"response_a": "\u00a0"}, "response_a: there is nothing but white space in it"),
        ({"votes": 0}, "votes: input should be greater than or equal to 1"),
        ({"votes": "3"}, "votes: input should be a valid integer"),
        ({"temperature": 1}, "temperature: extra inputs are not permitted"),
        ({"response_b": "27 " * 3000}, "The texts are too long for the judge"),
    ],
)
def test_a_mistake_is_422_with_a_sentence_that_does_not_repeat_what_was_sent(address, change, sentence) -> None:
    answer = patient.post(f"{address}/v1/compare", json=PAIR | change)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(sentence)
    assert len(answer.text) < 200


def test_thousands_of_unknown_fields_are_one_mistake() -> None:
    with pytest.raises(ValidationError, match="Extra inputs") as refused:
        CompareRequest.model_validate(PAIR | {str(number): number for number in range(3000)})
    assert refused.value.error_count() == 1


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b'{"instruction": "\\ud800"}', b"3"])
def test_a_body_that_is_no_request_is_refused(address: str, body: bytes) -> None:
    answer = patient.post(f"{address}/v1/compare", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_a_bad_question_does_not_spoil_its_neighbours(address: str) -> None:
    bodies = [PAIR, PAIR | {"response_a": "27 " * 3000}] * 8
    with ThreadPoolExecutor(16) as connections:
        statuses = connections.map(lambda body: patient.post(f"{address}/v1/compare", json=body).status_code, bodies)
    assert list(statuses) == [200, 422] * 8


def test_large_bodies_are_413_however_they_are_sent(seed_judge: Judge) -> None:
    with served(build_app(seed_judge, most_bytes=1000)) as address:
        json = {"Content-Type": "application/json"}
        assert patient.post(f"{address}/v1/compare", content=b"x" * 1001, headers=json).status_code == 413
        in_parts = patient.post(f"{address}/v1/compare", content=iter([b"x" * 600] * 2), headers=json)
        assert in_parts.status_code == 413
        assert patient.post(f"{address}/v1/compare", json=PAIR).status_code == 200


def test_too_many_requests_are_429_with_the_time_to_come_back(seed_judge: Judge) -> None:
    with served(build_app(seed_judge, rate=0.1, burst=2)) as address:
        answers = [patient.get(f"{address}/metrics") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 9 <= int(answers[2].headers["Retry-After"]) <= 10


def test_without_the_token_only_health_answers(seed_judge: Judge) -> None:
    with served(build_app(seed_judge, token="geheim")) as address:
        for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "geheim"}):
            refused = patient.post(f"{address}/v1/compare", json=PAIR, headers=sent)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert patient.get(f"{address}/metrics", headers=sent).status_code == 401
            assert patient.get(f"{address}/health", headers=sent).status_code == 200
        assert patient.post(f"{address}/v1/compare", content=b"{", headers={}).status_code == 401
        assert [patient.get(f"{address}{path}").status_code for path in ("/docs", "/openapi.json", "/no")] == [401] * 3
        admitted = {"Authorization": "Bearer geheim"}
        assert patient.post(f"{address}/v1/compare", json=PAIR, headers=admitted).status_code == 200


def test_the_description_says_where_the_token_is_asked_for(seed_judge: Judge) -> None:
    described = build_app(seed_judge, token="geheim").openapi()
    asked = {path for path, methods in described["paths"].items() if any("security" in m for m in methods.values())}
    assert asked == {"/v1/compare", "/v1/score", "/metrics"}
    assert described["components"]["securitySchemes"] == {"Token": {"type": "http", "scheme": "bearer"}}
    assert "securitySchemes" not in build_app(seed_judge).openapi()["components"]


@pytest.fixture(scope="module")
def terse(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a judge that is cut off after four tokens: what it says does not matter to the description."""
    folder = tmp_path_factory.mktemp("terse")
    evaluation = {"votes": 3, "sampling": {"max_tokens": 4}}
    path = write_small_recipe(folder, prompts=str(workplace.recipe.prompts), evaluation=evaluation)
    with (
        Judge.load("seed", str(path), data=workplace.data) as judge,
        served(build_app(judge, rate=1e6, burst=1_000_000)) as address,
    ):
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", ["/v1/compare", "/v1/score", "/health", "/ready", "/metrics"])
def test_the_service_keeps_what_its_description_promises(terse: str, path: str, mode: str) -> None:
    import schemathesis  # For two seconds, which no other test needs.

    mode = schemathesis.GenerationMode(mode)
    schema = schemathesis.openapi.from_url(f"{terse}/openapi.json")
    method = "POST" if path.startswith("/v1/") else "GET"
    if (method, mode) == ("GET", schemathesis.GenerationMode.NEGATIVE):
        pytest.skip("there is nothing to get wrong: it takes no parameters")

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def check(case: "schemathesis.Case") -> None:
        if isinstance(case.body, dict) and type(case.body.get("votes")) is int:
            case.body["votes"] = min(case.body["votes"], 2)  # More take time only.
        case.call_and_validate()

    check()
