"""Which process something was begun by, and whether that process is gone.

A number alone does not say: it is given to another process later. The time of the start, counted from the boot, and the
boot itself do. Where another process cannot be seen, on another machine or in another container, nothing is said of it.
"""

import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_DEAD = ("Z", "X", "x")


@dataclass(frozen=True)
class Process:
    """One process, on one machine, in one of its lives."""

    pid: int
    started: int
    """Clock ticks from the boot to its start; without /proc, seconds since 1970."""
    host: str
    boot: str
    """The kernel's id of the boot; without /proc, the time of the boot."""
    namespace: str
    """Of process ids: containers have their own."""

    @classmethod
    def own(cls) -> "Process":
        """The process that asks."""
        return cls._of(os.getpid())

    @classmethod
    def parent(cls) -> "Process | None":
        """The one that started this one through multiprocessing, forkserver or not; None where none did, or is gone."""
        parent = multiprocessing.parent_process()
        return None if parent is None or _start_of(parent.pid) is None else cls._of(parent.pid)

    @classmethod
    def _of(cls, pid: int) -> "Process":
        return cls(pid, _start_of(pid) or 0, socket.gethostname(), _boot(), _namespace())

    def is_gone(self) -> bool:
        """Whether it has certainly ended."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        return self.namespace == _namespace() and _start_of(self.pid) != self.started


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(round(psutil.boot_time()))


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """When a process started; None if there is none, or only what its parent has not yet asked for."""
    if not (_PROC / "self/stat").exists():
        try:
            return round(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        # The name before it may hold spaces and brackets.
        state, *fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in _DEAD else int(fields[18])
