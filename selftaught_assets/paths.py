"""Paths on this machine. An address, such as s3://bucket/data, would become a folder named `s3:` without a word."""

import re
from pathlib import Path

from selftaught_assets.errors import UserError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # A path makes one slash of two; a single letter may be a drive.


def is_address(named: str | Path) -> bool:
    """Whether something is named by a scheme, such as s3://bucket/data, and not by a path."""
    return _ADDRESS.match(str(named)) is not None


def local_path(named: str | Path, what: str = "The path") -> Path:
    """A path as it was named, for what can only lie on a disk.

    Args:
        named: by a user.
        what: is named, for the sentence.

    Raises:
        UserError: it is an address.
    """
    if is_address(named):
        whole = re.sub(":/+", "://", str(named), count=1)
        raise UserError(f"{what} is {whole!r}, an address: name a folder or a file on this machine.")
    return Path(named)
