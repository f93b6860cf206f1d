"""The answers of reviewers on disk: `<data>/<recipe>/reviews/<kind>.jsonl`, a line for each answer, only ever appended.

Belongs here: the format, and durable appends. Not here: what the answers say (agreement.py).

The newest line of a reviewer on a row counts. A line whose answer is null takes the one before it back.
"""

import json
import os
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.method.reviews import ANSWERS, Answer, Kind
from selftaught_assets.storage.files import fsync, full_disk_is_a_user_error
from selftaught_assets.storage.jsonl import read_jsonl
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.schema import Record, as_record

MOST_CHARACTERS = 4_000
"""Of a note."""

Note = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class StoredAnswer(Record):
    """One line of the file."""

    model_config = ConfigDict(extra="ignore")

    kind: Kind
    iteration: str
    id: str
    answer: Answer | None
    label: str | None
    agrees: bool | None
    reviewer: str
    time: AwareDatetime
    note: Note | None = None


def read_answers(layout: Layout, kind: Kind) -> list[StoredAnswer]:
    """All lines in their order, those that no longer count, too; none where nobody has answered yet.

    Raises:
        UserError: a line is damaged, or of a newer release; it is named by its number.
    """
    path = layout.reviews(kind)
    if not path.exists():
        return []
    answers = []
    for number, line in read_jsonl(path, required=()):
        try:
            answer = as_record(StoredAnswer, line, f"{path}, line {number},")
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}, line {number}: the field {field!r}: {as_clause(first['msg'])}.") from None
        if answer.kind != kind or answer.answer not in (*ANSWERS[kind], None):
            raise UserError(f"{path}, line {number}: {answer.answer!r} about {answer.kind} is no answer about {kind}.")
        answers.append(answer)
    return answers


def append_answer(layout: Layout, answer: StoredAnswer) -> None:
    """Adds a line and returns when it is on the disk.

    Raises:
        UserError: the disk is full.
    """
    path = layout.reviews(answer.kind)
    line = json.dumps(answer.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n"
    with full_disk_is_a_user_error(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab+", buffering=0) as file:  # One write a line: reviewers may answer at once.
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = b"\n" + line  # Someone edited the file and left its last line open.
            file.write(line)
            os.fsync(file.fileno())
        if is_new:
            fsync(path.parent)


def now() -> datetime:
    """The time of an answer, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
