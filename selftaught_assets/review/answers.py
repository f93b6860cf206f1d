"""What reviewers answered, and how often it agrees with the labels.

Looking at rows is the first experiment on any new data: the label of a pair is only as true as its construction, and
a right verdict may stand on wrong reasons. What the label claims of each kind:

- pairs: the response in this position was written to the instruction itself, so it is the better one.
- judgments: `is_correct`. A person calls a judgment good if verdict and reasoning are right.
- instructions: it was selected, so it is good.

The answers of reviewers on disk: `<data>/<recipe>/reviews/<kind>.jsonl`, a line for each answer, only ever appended.

The newest line of a reviewer on a row counts. A line whose answer is null takes the one before it back.
"""

import fcntl
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.method.identity import draw, share
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.storage.files import Record, as_record, fsync, writing_into
from selftaught_assets.storage.inputs import read_jsonl
from selftaught_assets.storage.layout import Layout

Kind = Literal["pairs", "judgments", "instructions"]
Answer = Literal["A", "B", "good", "bad", "unsure"]

ANSWERS: dict[Kind, tuple[Answer, ...]] = {
    "pairs": ("A", "B", "unsure"),
    "judgments": ("good", "bad", "unsure"),
    "instructions": ("good", "bad", "unsure"),
}


def rows_to_review(ids: pl.DataFrame, id_column: str, *, n: int, seed: int) -> pl.DataFrame:
    """Draws n rows; with the same seed, a larger n begins with the rows of a smaller one.

    Args:
        ids: a table that has the ids in `id_column`, no id twice.
        id_column: its name.
        n: how many, at most.
        seed: of the draw, which depends on nothing but this and the ids.

    Returns:
        The drawn rows in the order of their draws.
    """
    drawn = ids.with_columns(draw(id_column, seed, "review").alias("_draw"))
    return drawn.sort("_draw").head(n).drop("_draw")


def shown_position() -> pl.Expr:
    """Where the chosen response of a pair stands before a person: A or B, drawn by `pair_id` alone.

    A pair looks the same in every review, so that A and B of an answer always mean the same. The draw is independent of
    the one that says where the judge sees it.
    """
    return pl.when(share("pair_id", 0, "review position") < 0.5).then(pl.lit("A")).otherwise(pl.lit("B"))


def agrees(answer: Answer | None, label: str | None) -> bool | None:
    """Whether the answer says what the label says; None where the person is unsure, took the answer back, or there is
    no label."""
    return None if label is None or answer in (None, "unsure") else answer == label


def agreement_table(answers: pl.DataFrame) -> pl.DataFrame:
    """How often persons agree with the labels, by kind and iteration.

    Args:
        answers: kind, iteration, id, reviewer, answer (null: taken back), agrees, in the order in which they were
            given; the last of a reviewer on a row counts. Answers of several reviewers on one row count each.

    Returns:
        kind, iteration, n (answers that are sure), agreed, share (null where n is 0), low and high (Wilson, 95 %) and
        unsure, sorted by kind and iteration.
    """
    last = answers.unique(["kind", "iteration", "id", "reviewer"], keep="last", maintain_order=True)
    counts = (
        last.filter(pl.col("answer").is_not_null())
        .group_by("kind", "iteration")
        .agg(
            n=pl.col("agrees").count().cast(pl.Int64),
            agreed=pl.col("agrees").sum().cast(pl.Int64),
            unsure=(pl.col("answer") == "unsure").sum().cast(pl.Int64),
        )
        .sort("kind", "iteration")
    )
    intervals = [wilson_interval(agreed, n) for agreed, n in counts.select("agreed", "n").iter_rows()]
    return counts.with_columns(
        pl.when(pl.col("n") > 0).then(pl.col("agreed") / pl.col("n")).alias("share"),
        pl.Series("low", [interval.low for interval in intervals], dtype=pl.Float64),
        pl.Series("high", [interval.high for interval in intervals], dtype=pl.Float64),
    ).select("kind", "iteration", "n", "agreed", "share", "low", "high", "unsure")


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
    """All lines in order, including those that no longer count; none if nobody has answered yet.

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
            raise UserError(
                f"{path}, line {number}: {answer.answer!r} about {answer.kind} is not an answer about {kind}."
            )
        answers.append(answer)
    return answers


def append_answer(layout: Layout, answer: StoredAnswer) -> None:
    """Adds a line and returns when it is on the disk: a whole one, or none.

    Raises:
        UserError: the disk is full.
    """
    path = layout.reviews(answer.kind)
    line = json.dumps(answer.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n"
    with writing_into(path.parent):
        is_new = not path.exists()
        with path.open("ab+") as file:
            with suppress(OSError):  # A file system without locks has one reviewer at a time.
                fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line  # Someone edited the file and left its last line open.
            try:
                _write_all(file.fileno(), line)
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), size)
                raise
        if is_new:
            fsync(path.parent)


def _write_all(file: int, content: bytes) -> None:
    """On a disk that is nearly full, a single write takes a part of it and says nothing else."""
    while content:
        content = content[os.write(file, content) :]


def now() -> datetime:
    """The time of an answer, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


_SCHEMA = {
    "kind": pl.String,
    "iteration": pl.String,
    "id": pl.String,
    "reviewer": pl.String,
    "answer": pl.String,
    "agrees": pl.Boolean,
}


def agreement(layout: Layout) -> list[dict[str, Any]]:
    """The agreement of all reviewers with the labels, by kind and iteration.

    Returns:
        One dict for each kind and iteration that somebody reviewed: kind, iteration, n (answers that are sure), agreed,
        share (None where n is 0), low and high (Wilson, 95 %), unsure.

    Raises:
        UserError: a line of a file is damaged.
    """
    answers = [answer.model_dump(include=set(_SCHEMA)) for kind in ANSWERS for answer in read_answers(layout, kind)]
    return agreement_table(pl.DataFrame(answers, schema=_SCHEMA)).to_dicts()
