import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.review.answers import StoredAnswer, agreement, append_answer, now, read_answers
from selftaught_assets.storage.layout import Layout

CONTRACT = ["kind", "iteration", "n", "agreed", "share", "low", "high", "unsure"]


def _answer(number: int = 1, **changes: object) -> StoredAnswer:
    fields = {
        "kind": "pairs",
        "iteration": "iteration_01",
        "id": f"{number:016x}",
        "answer": "A",
        "label": "A",
        "agrees": True,
        "reviewer": "anna",
        "time": "2026-01-02T03:04:05Z",
    }
    return StoredAnswer.model_validate(fields | changes)


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    answers = [_answer(time=now()), _answer(2, answer=None, agrees=None, note="two\nlines \u2028 and \u202e ü")]
    for answer in answers:
        append_answer(layout, answer)
    assert read_answers(layout, "pairs") == answers
    lines = layout.reviews("pairs").read_text("utf-8").rstrip("\n").split("\n")
    assert json.loads(lines[0])["time"].endswith("Z")


def test_before_the_first_answer_there_is_none(tmp_path: Path) -> None:
    assert read_answers(Layout(tmp_path, "small"), "pairs") == []
    assert agreement(Layout(tmp_path, "small")) == []


def test_reviewers_who_answer_at_once_lose_no_line(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    answers = [_answer(number, note="x" * 4000) for number in range(60)]
    with ThreadPoolExecutor(6) as reviewers:
        list(reviewers.map(lambda answer: append_answer(layout, answer), answers))
    assert sorted(answer.id for answer in read_answers(layout, "pairs")) == sorted(answer.id for answer in answers)


def test_a_disk_that_is_nearly_full_gets_no_part_of_a_line(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    append_answer(layout, _answer(1))
    before = layout.reviews("pairs").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(UserError, match=r"Could not write into .*; free some space and run it again\.$"):
            append_answer(layout, _answer(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert layout.reviews("pairs").read_bytes() == before


def test_a_last_line_left_open_by_an_editor_is_closed_first(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    append_answer(layout, _answer(1))
    path = layout.reviews("pairs")
    path.write_text(path.read_text().rstrip("\n"))
    append_answer(layout, _answer(2))
    assert [answer.id for answer in read_answers(layout, "pairs")] == [f"{1:016x}", f"{2:016x}"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"kind": "pairs"', "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "the field 'kind'"),
        (_answer(answer="good").model_dump_json(), "'good' about pairs is not an answer about pairs"),
        (_answer(kind="judgments").model_dump_json(), "'A' about judgments is not an answer about pairs"),
        (_answer().model_dump_json().replace('"A"', '"C"', 1), "the field 'answer'"),
        (_answer().model_dump_json().replace("Z", ""), "the field 'time'"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    layout = Layout(tmp_path, "small")
    append_answer(layout, _answer())
    path = layout.reviews("pairs")
    path.write_text(path.read_text() + line + "\n")
    for read in (lambda: read_answers(layout, "pairs"), lambda: agreement(layout)):
        with pytest.raises(UserError) as refused:
            read()
        assert str(refused.value).startswith(f"{path}, line 2: ")
        assert complaint in str(refused.value)


def test_agreement_has_the_rows_of_all_kinds(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "small")
    append_answer(layout, _answer(1))
    append_answer(layout, _answer(1, answer="B", agrees=False))
    append_answer(layout, _answer(2, kind="instructions", answer="good", label="good"))
    rows = agreement(layout)
    assert [list(row) for row in rows] == [CONTRACT, CONTRACT]
    assert [(row["kind"], row["n"], row["agreed"]) for row in rows] == [("instructions", 1, 1), ("pairs", 1, 0)]
