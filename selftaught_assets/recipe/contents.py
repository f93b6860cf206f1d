"""Files and folders that a recipe names, by what is in them.

A recipe names its inputs by path; whether a result is still current must not depend on where they lie.
"""

import functools
import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, SerializationInfo

from selftaught_assets.method.identity import digest

BY_CONTENT = "by content"
"""Context of pydantic's `model_dump` in which an `InputPath` is written as the digest of what is there."""

_MODEL_CONFIG = "config.json"


def content_of(path: Path) -> str | None:
    """The digest of a file, or of the files of a folder with their names in it; None where there is nothing.

    Of a model folder, whose weights may be as large as a disk, only the configuration and the names and sizes of the
    weights count: the asset `seed_model` looks at all of it whenever it is made.
    """
    if path.is_file():
        return _file_digest(path, *_signs_of_change(path))
    if not path.is_dir():
        return None
    is_model = (path / _MODEL_CONFIG).is_file()
    files = sorted(path.glob("*.safetensors")) if is_model else sorted(found for found in path.rglob("*"))
    parts = [
        (str(file.relative_to(path)), file.stat().st_size if is_model else content_of(file))
        for file in files
        if file.is_file()
    ]
    return digest("folder", parts, content_of(path / _MODEL_CONFIG) if is_model else None)


def _serialized(path: Path, info: SerializationInfo) -> str | None:
    return content_of(path) if info.context == BY_CONTENT else str(path)


InputPath = Annotated[Path, PlainSerializer(_serialized)]
"""A path to something that the recipe's results depend on."""


def _signs_of_change(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, *signs: int) -> str:
    """Read once in a process, and again when one of the signs is another one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
