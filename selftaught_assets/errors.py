"""The exception for mistakes that a user can fix. Any other exception is a bug."""

import errno
import logging
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

_LOG = logging.getLogger(__name__)
_LONGEST_REASON = 600
_WITHOUT_SENTENCE = (LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
"""Errors whose text says little without their name. That of a KeyError is the key alone."""


_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ENTRY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR}
_BROKEN = {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
LONGEST = 3_000
"""Characters of a sentence. It may quote what a user gave, however long that is."""
_END = 500
"""Of these, what is kept of the end, which says what to do."""


class UserError(Exception):
    """A mistake in the input or the environment. Its text is one sentence: what is wrong, where, what to do.

    It may quote what a stranger wrote, and be shown by any terminal: characters that act on one are spelled out.
    """

    def __init__(self, sentence: str) -> None:
        cut = sentence if len(sentence) <= LONGEST else f"{sentence[: LONGEST - _END]} … {sentence[-_END:]}"
        super().__init__(visible(cut))


_JOINERS = "\u200c\u200d"
"""Invisible, but Persian and emoji are written with them, and they move nothing."""
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Categories of characters that are not shown but do something: control, format (among them the overrides of the
direction of writing), surrogates, private use, separators of lines and paragraphs."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with every character shown that would act on the terminal: U+202E as `\u202e`, an escape as `\x1b`.

    Args:
        text: of a model or a user.
        lines: keep line breaks and tabs; else a line break is `↵`.
    """
    if text.isprintable():
        return text
    return "".join(_visible(character, lines) for character in text)


def _visible(character: str, lines: bool) -> str:
    if character == "\n":
        return character if lines else "↵"
    if (character == "\t" and lines) or character in _JOINERS or unicodedata.category(character) not in _UNSAFE:
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def of_the_environment(error: OSError, target: object = None, problem: str = "cannot be used") -> UserError | None:
    """The sentence for what a disk or its permissions refuse; None where the error may be a bug of ours.

    Args:
        error: of the operating system.
        target: what could not be read or written, as a user knows it; by default what the error names.
        problem: what is wrong with it.
    """
    target = target or error.filename
    if error.errno not in _NO_SPACE | _NO_ENTRY | _BROKEN or target is None:
        return None
    reason = os.strerror(error.errno).lower()
    if error.errno in _NO_SPACE:
        return UserError(f"Could not write into {target}: {reason}; free some space and run it again.")
    remedy = "; name another place, or correct its permissions" if error.errno in _NO_ENTRY else ""
    return UserError(f"{target} {problem}: {reason}{remedy}.")


def as_clause(sentence: str) -> str:
    """Another package's sentence as a part of one of ours: without its capital letter and its full stop."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


@contextmanager
def refused_as(problem: str) -> Iterator[None]:
    """For library calls on a user's files: any exception becomes a UserError with `problem` and the reason.

    Libraries raise all kinds of exceptions for a damaged or unknown file, even plain Exception. So the block must only
    call other packages and hold no logic of ours, whose bugs would be hidden. The cause is chained, and logged at
    debug.

    Args:
        problem: what cannot be done, and with which file: "The model /models/x cannot be loaded".

    Raises:
        UserError: the block raised anything.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        # A panic of a library in Rust, such as tokenizers, is no Exception, and of a class that cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        _LOG.debug("%s", problem, exc_info=True)
        raise UserError(f"{problem}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line, cut where it is too long to read."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, _WITHOUT_SENTENCE):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return shortened(text)


def shortened(text: str) -> str:
    """A text that a sentence quotes, cut where it is too long to read."""
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} …"
