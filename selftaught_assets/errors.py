"""The exception for mistakes that a user can fix. Any other exception is a bug."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOG = logging.getLogger(__name__)
_LONGEST_REASON = 600
_WITHOUT_SENTENCE = (LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
"""Errors whose text says little without their name. That of a KeyError is the key alone."""


class UserError(Exception):
    """A mistake in the input or the environment. Its text is one sentence: what is wrong, where, what to do."""


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
    except Exception as error:
        _LOG.debug("%s", problem, exc_info=True)
        raise UserError(f"{problem}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """What an exception says, in one line, cut where it is too long to read."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, _WITHOUT_SENTENCE):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} …"
