"""What a console shows in the place of characters that its encoding does not have.

Belongs here: the substitutes. Not here: characters that would change the console (report/visible.py).
"""

import codecs
import io
import sys

ERRORS = "selftaught_assets.substitute"
"""The name of the way in which such characters are encoded."""

_SUBSTITUTES = {ord(character): plain for characters, plain in (
    ("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    ("\u2018\u2019", "'"),
    ("\u201c\u201d\u201e", '"'),
    ("\u00a0\u202f\u2009", " "),
    ("\u2192\u203a\u25b6", ">"),
    ("\u2190\u2039", "<"),
    ("\u2713", "+"),
    ("\u2717\u00d7", "x"),
    ("\u00b7\u2022\u2026", "."),
    ("\u21b5", "|"),
) for character in characters}  # fmt: skip
"""One for one, so that tables stay aligned."""


def make_consoles_lenient() -> None:
    """Lets standard output and standard error show a substitute where they would raise UnicodeEncodeError."""
    codecs.register_error(ERRORS, _substituted)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _substituted(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        _SUBSTITUTES.get(ord(character), "?") for character in error.object[error.start : error.end]
    ), error.end
