"""What several sections of a recipe have in common: strictness, and files that count by their content.

A recipe names its inputs by path; whether a result is still current must not depend on where they lie.
"""

import functools
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SerializationInfo

from selftaught_assets.input_files import files_below
from selftaught_assets.method.identity import digest
from selftaught_assets.model_files import CONFIG, MODEL_FILES, file_digest, files_of, stamp
from selftaught_assets.paths import is_address


def added(default: Any, **constraints: Any) -> Any:
    """A field that recipes of earlier versions lack: unless it is set, a section counts as the same as without it."""
    return Field(default, exclude_if=lambda value: value == default, **constraints)


class Section(BaseModel):
    """A section of a recipe: it never changes, and has no unknown fields and no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]
"""What a recipe, or a part of its key prefix, may be called: Dagster's keys and folders both allow it. Two underscores
in a row join such names, so none has them in it."""

BY_CONTENT = "by content"
"""Context of pydantic's `model_dump` in which an `InputPath` is written as the digest of what is there."""


def content_of(path: Path) -> str | None:
    """The digest of a file, or of the files of a folder with their names in it; None where there is nothing.

    Of a model folder only the files of the model count, and of the weights, which may be as large as a disk, only names
    and sizes: the asset `seed_model` looks at all of it whenever it is made.
    """
    if path.is_file():
        return _file_digest(path, *stamp(path))
    if not path.is_dir():
        return None
    is_model = (path / CONFIG).is_file()
    found = None if is_model else files_below(path, "**/*")
    files = files_of(path, MODEL_FILES) if found is None else {one.relative_to(path).as_posix(): one for one in found}
    is_weights = {name: is_model and name.endswith(".safetensors") for name in files}
    parts = [(name, file.stat().st_size if is_weights[name] else content_of(file)) for name, file in files.items()]
    return digest("folder", parts)


def _serialized(path: Path, info: SerializationInfo) -> str | None:
    return content_of(path) if info.context == BY_CONTENT else str(path)


def _on_disk(value: Any) -> Any:
    if isinstance(value, str | Path) and is_address(value):
        raise ValueError("this is an address, and only files and folders of this machine can be read here")
    if "\0" in str(value):
        raise ValueError("no file can have such a name")
    return value


LocalPath = Annotated[Path, BeforeValidator(_on_disk)]
"""A path to something on this machine."""

InputPath = Annotated[LocalPath, PlainSerializer(_serialized)]
"""A path to something that the recipe's results depend on."""


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, *signs: int) -> str:
    """Read once in a process, and again when one of the signs is another one."""
    return file_digest(path)
