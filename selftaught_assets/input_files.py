"""What is read of a user's files: regular files, few enough of them, in lines that fit into memory.

A pipe never ends or never begins, a device has no size, five megabytes of gzip hold a line of a gigabyte, and a pattern
may mean the whole disk. Each is refused with one sentence, before the memory is gone.
"""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from selftaught_assets.errors import UserError

MEBIBYTE = 1024**2
LONGEST_LINE = 64 * MEBIBYTE
LARGEST_FILE = 1024 * MEBIBYTE
"""Of those that are read as a whole, also when they are unpacked."""
LARGEST_UNPACKED = 16 * LARGEST_FILE
LARGEST_SETTINGS = MEBIBYTE
"""Of a recipe, a prompt, a card: what people write by hand."""
MOST_FILES = 10_000
MOST_ENTRIES = 100_000
"""Files and folders that are looked at to find them."""

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def opened(path: Path) -> BinaryIO:
    """A regular file, or a link to one, to be read.

    Raises:
        UserError: it is something else, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if kind := _KINDS.get(stat.S_IFMT(mode)):
            raise UserError(f"{path} cannot be read: it is {kind}, not a file.")
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {os.strerror(error.errno).lower()}.") from None


def content_of(path: Path, most: int = LARGEST_FILE) -> bytes:
    """All of a regular file.

    Raises:
        UserError: it is something else, cannot be read, or has more than `most` bytes.
    """
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise UserError(f"{path} is larger than {_size(most)}, which is the most that is read of such a file.")
        try:
            return file.read()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {os.strerror(error.errno).lower()}.") from None


def text_of(path: Path, most: int = LARGEST_FILE) -> str:
    r"""All of a regular file in UTF-8, without a byte order mark, every line ended by "\n".

    Raises:
        UserError: as `content_of`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return content_of(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a regular file, which is unpacked on the way where its name ends in ".gz".

    Raises:
        UserError: it is something else, cannot be read or unpacked, or a line is too long.
    """
    with opened(path) as file:
        if path.suffix != ".gz":
            yield from bounded_lines(file, str(path))
            return
        left = LARGEST_UNPACKED
        try:
            for line in bounded_lines(gzip.GzipFile(fileobj=file), str(path)):
                left -= len(line)
                if left < 0:
                    raise UserError(f"{path} is larger than {_size(LARGEST_UNPACKED)} when it is unpacked: split it.")
                yield line
        except (gzip.BadGzipFile, zlib.error, EOFError):
            raise UserError(f"{path} is not a complete gzip file.") from None


def bounded_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of what is open.

    Raises:
        UserError: a line is too long, or reading fails.
    """
    number = 0
    try:
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise UserError(
                    f"{name}, line {number}: it is longer than {_size(LONGEST_LINE)}: are there no line ends?"
                )
            yield line
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise UserError(f"{name} cannot be read: {os.strerror(error.errno).lower()}.") from None


def files_below(folder: Path, pattern: str) -> list[Path]:
    """The regular files of a folder that fit a pattern, sorted. Links to folders are not followed by `**`.

    Raises:
        UserError: it is no pattern of files below the folder; or there are too many.
    """
    if ".." in Path(pattern).parts:
        raise UserError(f"The pattern {pattern!r} leads out of the folder {folder}: name another folder.")
    if "**" in pattern:
        _require_few(folder)
    try:
        found = list(islice((path for path in folder.glob(pattern) if path.is_file()), MOST_FILES + 1))
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{pattern!r} is no pattern for files in {folder}: {str(error).lower()}.") from None
    if len(found) > MOST_FILES:
        raise UserError(f"{pattern!r} means more than {MOST_FILES:,} files in {folder}: name fewer.")
    return sorted(found)


def _require_few(folder: Path) -> None:
    seen = 0
    for _, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MOST_ENTRIES:
            raise UserError(
                f"The folder {folder} has more than {MOST_ENTRIES:,} files and folders: name a smaller one."
            )


def _size(number: int) -> str:
    return f"{number // MEBIBYTE:,} MiB"
