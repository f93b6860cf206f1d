"""Writing files so that they are whole or absent.

Belongs here: durable, atomic writes and the sentence for a full disk. Not here: what is in the files.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftaught_assets.errors import UserError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write the file to, then puts it in place, durably.

    Whoever reads `path`, at any moment and after any crash, sees the old content or the new one. If the block raises,
    nothing is left of it. Of several writers at once, each writes beside the others and the last one stays.

    Raises:
        UserError: the disk is full.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    with full_disk_is_a_user_error(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            fsync(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        fsync(path.parent)


@contextmanager
def folder_written_aside(folder: Path) -> Iterator[Path]:
    """Gives a folder beside `folder` to write into, then puts it in place, durably; it appears whole or not at all.

    Raises:
        UserError: something is there already, or the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and is not empty: name a new folder.")
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    with full_disk_is_a_user_error(folder.parent):
        try:
            aside.mkdir(parents=True)
            yield aside
            for path in aside.rglob("*"):
                fsync(path)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        fsync(folder.parent)


@contextmanager
def full_disk_is_a_user_error(folder: Path) -> Iterator[None]:
    """Turns "no space", "over quota" and "file too large" inside the block into one sentence that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise UserError(
            f"Could not write into {folder}: {os.strerror(error.errno).lower()}; free some space and run it again."
        ) from None


def fsync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
