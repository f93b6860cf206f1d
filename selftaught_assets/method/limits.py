"""Code that came with a recipe or a model, ended where it takes too long or too much memory.

Templates run in a sandbox that keeps them from reaching out, but not from looping. So a thread watches what runs, and
raises an exception in the thread that runs it. This works in any thread, and costs a call a microsecond. It measures
the processor time of the thread: a busy machine, or a process that was halted, is no reason to refuse a template.

One call into C that takes for ever, such as a huge power, cannot be ended like that: the sandbox refuses it.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import wraps
from types import BuiltinMethodType
from typing import Any, TypeVar

from jinja2 import Template
from jinja2.filters import do_indent, do_replace, sync_do_join
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import pass_eval_context

MOST_CHARACTERS = 5_000_000
"""Of a prompt, as many as a million tokens have; a tokenizer needs two hundred times the memory."""
SECONDS = 2.0
"""Of processor time. A template takes a thousandth of one."""
MOST_BYTES = 512 * 1024**2
"""That the process may grow by meanwhile. One step more may double it before it can be ended."""
_LOOK_EVERY = 0.05

Result = TypeVar("Result")


class EndlessError(ValueError):
    """What was called takes too long, or too much memory."""


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
        EndlessError: it takes longer than `SECONDS`, or the process grows by more than `MOST_BYTES`.
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
        raise EndlessError(
            f"it takes more than {SECONDS:.0f} s or {MOST_BYTES // 1024**2} MiB, as if it never ended"
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
                elif _is_too_much(seconds - running.since[0], used - running.since[1]):
                    running.raised_in = True
                    _running.discard(running)
                    pythonapi.PyThreadState_SetAsyncExc(c_ulong(running.thread), py_object(_TooMuch))


def _is_too_much(seconds: float, grown: int) -> bool:
    """Of a call that itself did next to nothing meanwhile, another thread is what grew."""
    return seconds > SECONDS or (grown > MOST_BYTES and seconds > _LOOK_EVERY)


def _forget() -> None:
    """In a process that was forked, which has no thread but the one that forked it."""
    global _lock, _awake, _watcher
    _lock, _awake, _watcher = threading.Lock(), threading.Event(), None
    _running.clear()


os.register_at_fork(after_in_child=_forget)


_GROWING_FILTERS = {"batch", "center", "format", "slice"}
_GROWING_METHODS = {"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"}
"""What makes a long text or list of a short one and a number, in one call that cannot be ended."""
_LARGEST, _WIDEST = 1_000_000, 1_000


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Refuses, beside what reaches out, what takes memory or time without end in one step."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        """Takes what `jinja2.Environment` takes."""
        super().__init__(**options)
        known = {name: found for name, found in self.filters.items() if name not in _GROWING_FILTERS}
        self.filters = known | {"indent": _indented, "replace": _replaced, "join": _joined}
        self.globals = {name: found for name, found in self.globals.items() if name != "lipsum"}

    def from_string(self, *arguments: Any, **options: Any) -> Template:
        """As Jinja2's, with a filter `tojson` that indents within bounds, whosever it is."""
        self.filters["tojson"] = _narrow(self.filters["tojson"])
        return super().from_string(*arguments, **options)

    def wrap_str_format(self, value: object) -> None:
        """`format` is no exception to what is safe, as it is in Jinja2's own sandbox."""

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        return attr not in _GROWING_METHODS and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
        if operator == "*" and sizes != [left, right]:
            if isinstance(sizes[0], int) and isinstance(sizes[1], int) and sizes[0] * sizes[1] <= _LARGEST:
                return super().call_binop(context, operator, left, right)
            raise SecurityError("`*` makes no long texts of short ones")
        for number in (left, right):
            if not isinstance(number, int | float) or abs(number) > _LARGEST or (operator == "**" and number > 16):
                raise SecurityError(f"`{operator}` is for numbers that are not large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: object, /, *arguments: Any, **options: Any) -> object:
        # Of anything else nothing is looked up: an `env` takes every name for that of a variable.
        text, name = (called.__self__, called.__name__) if isinstance(called, BuiltinMethodType) else (None, None)
        if isinstance(text, str) and name == "replace" and len(arguments) > 1:
            _require_short(text.count(arguments[0]), arguments[1])
        elif isinstance(text, str) and name == "join" and arguments:
            arguments = (list(arguments[0]),)
            _require_short(len(arguments[0]), text)
        return super().call(context, called, *arguments, **options)


def _narrow(tojson: Callable[..., str]) -> Callable[..., str]:
    @wraps(tojson)
    def narrow(*arguments: Any, **options: Any) -> str:
        if any(type(number) is int and number > _WIDEST for number in (*arguments[1:], options.get("indent"))):
            raise SecurityError(f"`indent` is for at most {_WIDEST} characters")
        return tojson(*arguments, **options)

    return narrow


def _require_short(times: int, text: str) -> None:
    if times * len(text) > MOST_CHARACTERS:
        raise SecurityError(f"a text of {len(text):,} characters would be written {times:,} times")


def _indented(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja2's filter, for what a line has room for."""
    if (width if isinstance(width, int) else len(width)) > _WIDEST:
        raise SecurityError(f"`indent` is for at most {_WIDEST} characters")
    return do_indent(text, width, first, blank)


@pass_eval_context
def _replaced(context: EvalContext, text: str, old: str, new: str, count: int | None = None) -> str:
    _require_short(str(text).count(str(old)), str(new))
    return do_replace(context, text, old, new, count)


@pass_eval_context
def _joined(context: EvalContext, parts: Iterable[Any], between: str = "", attribute: str | int | None = None) -> str:
    parts = list(parts)
    _require_short(len(parts), str(between))
    return sync_do_join(context, parts, between, attribute)
