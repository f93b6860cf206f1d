"""The schema version that each record on disk carries, so that a release says which records it is too old to read.

Belongs here: the version itself, and the one sentence. Not here: the records; each stands with what it is about.

A record without a version is of version 1. A version is raised when an older release would misread the record, or
could not read it; a release reads its own version and all older ones.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from selftaught_assets.errors import UserError

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
