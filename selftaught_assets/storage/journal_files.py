"""Where the shards of a journal are stored: a folder on a disk, or a prefix of an object store (S3 and its like).

In both places a file appears whole or not at all: on a disk it is written aside, synced and renamed; in an object
store one upload is one object. Files never change once they are there, so a copy of one is as good as the file.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from upath import UPath

from selftaught_assets.errors import UserError
from selftaught_assets.storage.files import writing_into, written_aside

ABANDONED_AFTER_SECONDS = 600.0
_FETCHED_TOGETHER = 64
"""Files that are in memory at once while they are copied here."""


class Files(Protocol):
    """The files in one folder, by their names."""

    place: str
    """The folder, as users know it."""

    def sizes(self) -> dict[str, int]:
        """Every file with its bytes; nothing where the folder is not there yet."""
        ...

    def folders(self) -> list[str]:
        """The folders in it, sorted; nothing where it is not there yet."""
        ...

    def on_disk(self, names: Sequence[str]) -> list[Path]:
        """Where the files can be read. May raise FileNotFoundError if one has vanished, as reading them may."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Puts a whole file in place, durably. Raises UserError if there is no room for it, or it is refused."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Raises FileNotFoundError if another process was faster."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Removes files; those that are gone already do not matter."""
        ...

    def abandoned(self) -> list[str]:
        """Files that a killed process left half-written."""
        ...


def files_in(folder: Path | UPath) -> Files:
    """The files of a folder, on a disk or elsewhere.

    Raises:
        UserError: the package for this kind of storage is not installed.
    """
    return LocalFiles(folder) if isinstance(folder, Path) else RemoteFiles(folder)


def subfolders(folder: Path | UPath) -> list[str]:
    """The names of the folders in a folder, sorted; none where it is not there yet. Raises UserError as `files_in`."""
    return files_in(folder).folders()


class LocalFiles:
    """In a folder on a disk that this process sees."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder

    def folders(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("*/"))

    def sizes(self) -> dict[str, int]:
        found = {}
        for path in self._folder.glob("*"):
            try:
                found[path.name] = path.stat().st_size
            except FileNotFoundError:
                continue  # Another process has removed it.
        return found

    def on_disk(self, names: Sequence[str]) -> list[Path]:
        return [self._folder / name for name in names]

    def write(self, name: str, content: bytes) -> None:
        with written_aside(self._folder / name) as aside:
            aside.write_bytes(content)

    def rename(self, name: str, new: str) -> None:
        (self._folder / name).rename(self._folder / new)

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def abandoned(self) -> list[str]:
        old = []
        for leftover in self._folder.glob(".*.partial"):
            try:
                age = time.time() - leftover.stat().st_mtime
            except FileNotFoundError:
                continue  # Another process has finished or removed it.
            if age > ABANDONED_AFTER_SECONDS:
                old.append(leftover.name)
        return old


class RemoteFiles:
    """Under a prefix of an object store, through fsspec; read from copies in a temporary folder, each made once."""

    def __init__(self, folder: UPath) -> None:
        self.place = str(folder)
        self._prefix = folder.path.rstrip("/")
        try:
            self._system = folder.fs
        except ImportError as error:
            extra = ": pip install 'selftaught-assets[s3]'" if folder.protocol in ("s3", "s3a") else ""
            raise UserError(f"The journal {folder} needs a package that is not installed ({error}){extra}.") from None

    def sizes(self) -> dict[str, int]:
        return {_name(entry["name"]): entry["size"] for entry in self._entries() if entry["type"] == "file"}

    def folders(self) -> list[str]:
        return sorted(_name(entry["name"]) for entry in self._entries() if entry["type"] == "directory")

    def on_disk(self, names: Sequence[str]) -> list[Path]:
        missing = [name for name in names if not (self._copies / name).exists()]
        for start in range(0, len(missing), _FETCHED_TOGETHER):
            self._fetch(missing[start : start + _FETCHED_TOGETHER])
        return [self._copies / name for name in names]

    def write(self, name: str, content: bytes) -> None:
        with self._reached():
            try:
                self._system.pipe_file(self._path(name), content)
            except FileNotFoundError as error:
                raise self._refused(error) from None
        self._keep_copy(name, content)

    def rename(self, name: str, new: str) -> None:
        with self._reached():
            self._system.mv(self._path(name), self._path(new))

    def remove(self, names: Sequence[str]) -> None:
        with self._reached(), suppress(FileNotFoundError):
            self._system.rm([self._path(name) for name in names])
        for name in names:
            (self._copies / name).unlink(missing_ok=True)

    def abandoned(self) -> list[str]:
        return []

    @cached_property
    def _copies(self) -> Path:
        self._holder = tempfile.TemporaryDirectory(prefix="selftaught-journal-")  # Removed together with this object.
        return Path(self._holder.name)

    def _entries(self) -> list[dict[str, Any]]:
        self._system.invalidate_cache(self._prefix)
        with self._reached():
            try:
                return self._system.ls(self._prefix, detail=True)
            except FileNotFoundError as error:
                if error.__cause__ is not None:  # The store refused: no such bucket. An empty prefix has no cause.
                    raise self._refused(error) from None
                return []

    def _fetch(self, names: Sequence[str]) -> None:
        with self._reached():
            contents = self._system.cat([self._path(name) for name in names], on_error="return")
            for path, content in contents.items():
                if isinstance(content, Exception):
                    raise content
                self._keep_copy(_name(path), content)

    def _keep_copy(self, name: str, content: bytes) -> None:
        with writing_into(self._copies):
            (self._copies / name).write_bytes(content)

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns what a store raises into one sentence; but a file that has vanished is for the caller."""
        try:
            yield
        except FileNotFoundError:
            raise
        except _store_errors() as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> UserError:
        problem = " ".join(str(error).split()).rstrip(".")
        return UserError(
            f"The journal {self.place} cannot be used ({problem}): check `journal` in the recipe, and the endpoint and "
            "the credentials in the environment."
        )


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _store_errors() -> tuple[type[Exception], ...]:
    """OSError, and beside it what the client of S3 raises, where that is in use."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError,) if botocore is None else (OSError, botocore.BotoCoreError, botocore.ClientError)
