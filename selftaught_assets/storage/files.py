"""Files that are complete or absent, and the schema version of each record.

Each record on disk carries a schema version, so that a release says which records it is too old to read. A record
without a version is of version 1. A version is raised when an older release would misread the record, or could not
read it; a release reads its own version and all older ones.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from selftaught_assets.errors import UserError, of_the_environment
from selftaught_assets.paths import local_path

_PROBLEM = "cannot be written"
_PARTIAL = ".partial"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write the file to, then puts it in place, durably.

    Anyone who reads `path`, at any moment and after any crash, sees the old content or the new one. If the block
    raises, nothing is left of it. Of several writers at once, each writes beside the others and the last one stays.

    Raises:
        UserError: the disk is full, or nothing can be written there.
    """
    aside = _aside(path)
    with writing_into(path.parent):
        try:
            yield aside
            fsync(aside)
            aside.replace(path)
        finally:
            with suppress(OSError):  # What kept the file from being written is said already.
                aside.unlink(missing_ok=True)
        fsync(path.parent)


@contextmanager
def folder_written_aside(folder: Path) -> Iterator[Path]:
    """Gives a folder to write into, then puts it in the place of `folder`, durably; it appears whole or not at all.

    If an empty folder is there it stays, since somebody may stand in it or it may be a mount, and is filled last.

    Raises:
        UserError: something is there already, the disk is full, or no folder can be made there; or it is an address.
    """
    local_path(folder, "The folder to write")
    with _refused_for(folder):
        place = folder.resolve()  # Of ".", and of a link, to where they lead.
        is_there = place.exists()
        if is_there and (not place.is_dir() or any(place.iterdir())):
            raise UserError(f"{folder} already exists and is not empty: name a new folder.")
        place.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(place / place.name if is_there else place)
    with writing_into(place if is_there else place.parent):
        try:
            with _refused_for(folder):
                aside.mkdir()
            yield aside
            for path in aside.rglob("*"):
                fsync(path)
            if is_there:
                for path in aside.iterdir():
                    path.rename(place / path.name)
            else:
                aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        fsync(place if is_there else place.parent)


def require_writable(path: Path) -> None:
    """Tries whether a file or a folder can be put there, before hours of work are spent on it.

    Raises:
        UserError: it cannot.
    """
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    aside = _aside(folder / path.name)
    with writing_into(folder), _refused_for(path):
        aside.touch()
        aside.unlink()


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Makes a folder, and turns what keeps the block from writing into it into one sentence that names it."""
    with _refused_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except shutil.Error as error:  # Of a whole tree: what went wrong with each file.
        raise UserError(f"Could not write into {folder}: {error.args[0][0][2]}.") from None
    except OSError as error:
        if error.filename is None or folder in Path(error.filename).parents:
            refused = of_the_environment(error, folder, _PROBLEM)
            if refused is None and Path(error.filename or "").name.endswith(_PARTIAL):  # As /proc refuses all.
                refused = _unwritable(folder, error)
        else:
            refused = of_the_environment(error)
        if refused is None:
            raise
        raise refused from None


@contextmanager
def _refused_for(target: Path) -> Iterator[None]:
    """Whatever keeps a file or a folder from being made is one sentence that names it."""
    try:
        yield
    except OSError as error:
        raise (of_the_environment(error, target, _PROBLEM) or _unwritable(target, error)) from None


def _unwritable(target: Path, error: OSError) -> UserError:
    return UserError(f"{target} {_PROBLEM}: {os.strerror(error.errno).lower()}.")


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{_PARTIAL}")


def fsync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


SCHEMA_VERSION = "schema_version"
"""The field of every record."""

FIRST = 1


class Record(BaseModel):
    """What is kept on disk as JSON; a subclass of a later version says so in its own `schema_version`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(FIRST, ge=FIRST, strict=True)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(kind: type[AnyRecord], content: bytes | str, place: object) -> AnyRecord:
    """A record from its JSON.

    Args:
        kind: of the record.
        content: what is on disk.
        place: where, for the sentence.

    Raises:
        UserError: a newer release wrote it.
        ValidationError: it is damaged.
    """
    try:
        parsed = from_json(content)
    except ValueError:
        return kind.model_validate_json(content)  # Says where the JSON is broken.
    return as_record(kind, parsed, place)


def as_record(kind: type[AnyRecord], content: object, place: object) -> AnyRecord:
    """`read_record` of what is parsed already."""
    require_readable(content, kind.model_fields[SCHEMA_VERSION].default, place)
    return kind.model_validate({SCHEMA_VERSION: FIRST} | content if isinstance(content, dict) else content)


def require_readable(content: object, known: int, place: object) -> None:
    """Refuses a record that says it is of a later version than `known`.

    Raises:
        UserError: a newer release wrote it.
    """
    version = content.get(SCHEMA_VERSION) if isinstance(content, Mapping) else None
    if isinstance(version, int) and version > known:
        raise written_by_newer(place, version, known)


def written_by_newer(place: object, version: int, known: int) -> UserError:
    """The sentence for what only a newer release can read."""
    return UserError(
        f"{place} was written by a newer release of selftaught-assets (schema version {version}; this release reads "
        f"{'version 1' if known == FIRST else f'versions 1 to {known}'}): upgrade selftaught-assets."
    )


class StageProgress(NamedTuple):
    """`done` of `total` units (completions, steps) of a stage; `rate` is in `rate_unit` per second."""

    stage: str
    iteration: str | None
    done: int
    total: int
    rate: float
    rate_unit: str
    seconds_left: float | None

    def sentence(self) -> str:
        """The progress as one line for a log."""
        place = f"{self.stage} {self.iteration}" if self.iteration else self.stage
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"{place}: {self.done:,} of {self.total:,}, {self.rate:,.0f} {self.rate_unit}/s{left}"


def write_progress(path: Path, progress: StageProgress) -> None:
    """Replaces the message."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps({SCHEMA_VERSION: FIRST} | progress._asdict()), encoding="utf-8")


def read_progress(path: Path) -> StageProgress | None:
    """The newest message; None if there is none that can be read.

    Raises:
        UserError: a newer release writes it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        require_readable(content, FIRST, path)
        return StageProgress(**{name: content[name] for name in StageProgress._fields})
    except (OSError, ValueError, KeyError, TypeError):
        return None
