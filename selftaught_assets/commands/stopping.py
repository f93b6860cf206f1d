"""Ctrl-C and SIGTERM end a command with one sentence, and with the exit status that shells expect.

Both raise `Stopped` in the main thread, wherever it is; what is being written aside is removed on the way out. Dagster
has handlers of its own while it executes a run, for its event log; it does not tell which signal came. So signals are
noted below Python's handlers as well, in a pipe.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)
AGAIN = "Stopped; nothing is half-written: run the same command again."
GOES_ON = "Stopped; what was sampled is kept: the same command goes on."


class Stopped(BaseException):
    """A signal asks the command to end. No Exception, so that nothing takes it for a failure and goes on."""

    def __init__(self, number: int) -> None:
        super().__init__(AGAIN)
        self.status = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises `Stopped` where a signal arrives inside the block; in another thread than the main one, does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    noted_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _stop) for number in ENDING}
    _noted.append(reading)
    try:
        yield
    finally:
        _noted.remove(reading)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(noted_before)
        os.close(reading)
        os.close(writing)


def raise_if_stopped() -> None:
    """Raises `Stopped` where a signal has arrived that somebody else's handler took."""
    for reading in _noted[-1:]:
        try:
            arrived = os.read(reading, 4096)
        except BlockingIOError:
            return
        if ending := [number for number in arrived if number in ENDING]:
            raise Stopped(ending[0])


@contextmanager
def keeps_what_was_sampled() -> Iterator[None]:
    """For commands that sample through the journal: says so where they are stopped."""
    try:
        yield
    except Stopped as stopped:
        stopped.args = (GOES_ON,)
        raise


def ignore_signals() -> None:
    """For the last moments of a command that ends already, which another Ctrl-C must not fill with a traceback."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


_noted: list[int] = []
"""Where the numbers of signals can be read, the newest last."""


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)
