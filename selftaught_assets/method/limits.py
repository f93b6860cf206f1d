"""Code that came with a recipe or a model, ended where it takes too long or too much memory.

Templates run in a sandbox that keeps them from reaching out, but not from looping. So a thread watches what runs, and
raises an exception in the thread that runs it. This works in any thread, and costs a call a microsecond. It measures
the processor time of the thread: a busy machine, or a process that was halted, is no reason to refuse a template.

One call into C that takes for ever, such as a huge power, cannot be ended like that: the sandbox must refuse it.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

SECONDS = 5.0
"""Of processor time. A template takes a thousandth of one."""
MOST_BYTES = 2 * 1024**3
"""That the process may grow by meanwhile."""
_LOOK_EVERY = 0.1

Result = TypeVar("Result")


class _TooMuch(BaseException):
    """No Exception, so that nothing on the way takes it for a failure that it knows."""


class _Running:
    """A call, and what it is charged for since it was first seen."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.since: tuple[float, int] | None = None
        self.raised_in = False
        """Whether the exception is on its way."""


_lock = threading.Lock()
_running: set[_Running] = set()
_awake = threading.Event()
_watcher: threading.Thread | None = None


def limited(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """What the call returns.

    Raises:
        ValueError: it takes longer than `SECONDS`, or the process grows by more than `MOST_BYTES`.
    """
    running = _Running()
    try:
        try:
            _watch(running)
            return call(*arguments, **options)
        except _TooMuch:
            running.raised_in = False
            raise
        finally:
            with _lock:
                _running.discard(running)
            while running.raised_in:  # It must not arrive anywhere else.
                time.sleep(0.001)
    except _TooMuch:
        raise ValueError(
            f"it takes more than {SECONDS:.0f} s or {MOST_BYTES / 1024**3:.0f} GiB, as if it never ended"
        ) from None


def _watch(running: _Running) -> None:
    global _watcher
    with _lock:
        _running.add(running)
        if _watcher is None:
            _watcher = threading.Thread(target=_look, name="limits", daemon=True)
            _watcher.start()
    if not _awake.is_set():
        _awake.set()


def _look() -> None:
    from ctypes import c_ulong, py_object, pythonapi

    from psutil import Process

    process = Process()
    while True:
        _awake.wait()
        time.sleep(_LOOK_EVERY)
        with _lock:
            if not _running:
                _awake.clear()
            for running in list(_running):
                seconds = time.clock_gettime(time.pthread_getcpuclockid(running.thread))
                used = process.memory_info().rss
                if running.since is None:
                    running.since = seconds, used
                elif seconds - running.since[0] > SECONDS or used - running.since[1] > MOST_BYTES:
                    running.raised_in = True
                    _running.discard(running)
                    pythonapi.PyThreadState_SetAsyncExc(c_ulong(running.thread), py_object(_TooMuch))


def _forget() -> None:
    """In a process that was forked, which has no thread but the one that forked it."""
    global _lock, _awake, _watcher
    _lock, _awake, _watcher = threading.Lock(), threading.Event(), None
    _running.clear()


os.register_at_fork(after_in_child=_forget)
