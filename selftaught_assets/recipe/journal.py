"""The field `journal` of a recipe: where completions are remembered.

Belongs here: what may be said there. Not here: how files are kept there (storage/journal_files.py).
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fsspec import available_protocols
from pydantic import AfterValidator

_ON_DISK = ("file", "local")


def _place(value: str | Path) -> str | Path:
    address = urlsplit(str(value))
    if "://" not in str(value) or address.scheme in _ON_DISK:
        return Path(address.path)
    return str(value).rstrip("/")


Place = Annotated[str | Path, AfterValidator(_place)]
"""A folder, or the address of an object store, as fsspec writes it. Endpoint and credentials are the environment's."""


def require_place(place: str | Path | None) -> None:
    """Checks an address.

    Raises:
        ValueError: fsspec knows no such storage, the address is not whole, or it holds a password (the message does
            not).
    """
    if not isinstance(place, str):
        return
    address = urlsplit(place)
    if address.password is not None:
        raise ValueError("`journal` holds a password: credentials belong in the environment, never in a recipe")
    if address.scheme not in available_protocols():
        raise ValueError(f"`journal` is {place!r}, but fsspec knows no storage {address.scheme}://")
    if not address.netloc:
        raise ValueError(f"`journal` is {place!r}, which names no bucket")
