"""One writer at a time on a recipe's data folder.

`selftaught run` has the folder for itself, from its beginning to its end. Without it, stages may run side by side, as
different partitions do in Dagster, but each stage of an iteration only once at a time. Whoever comes second fails at
once, with one sentence that says who is at work; nobody waits, except for what a killed run left behind.

The locks are the kernel's (flock), so a process that dies holds none. There are two kinds of files: `run.lock`, which
`selftaught run` holds alone and which stages share; and one for each stage of an iteration. The steps of
`selftaught run` hold only the latter, since their parent holds the former: it is known by its process, not by anything
that one run could inherit from another. What stands in a file says who holds it, and nothing where nobody does.
"""

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from selftaught_assets.errors import UserError
from selftaught_assets.processes import Process
from selftaught_assets.storage.layout import Layout

_LOG = logging.getLogger(__name__)

LEFTOVER_SECONDS = 60.0
"""How long `selftaught run` waits for a step whose run was killed. It ends by itself, once it notices."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Holder:
    """Who is at work in a folder."""

    what: str
    since: str
    process: Process

    @classmethod
    def own(cls, what: str) -> "Holder":
        return cls(what, datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), Process.own())

    def __str__(self) -> str:
        return f"{self.what} (process {self.process.pid} on {self.process.host}, since {self.since})"


@contextmanager
def whole_folder(layout: Layout, what: str) -> Iterator[None]:
    """Has a recipe's data folder for itself during the block.

    Args:
        layout: of the recipe.
        what: wants it, for the sentence of those who come later: "`selftaught run`".

    Raises:
        UserError: someone else is at work there, or the folder cannot be written.
    """
    with _opened(layout.run_lock) as file:
        if not _locked(file, fcntl.LOCK_EX):
            files = (layout.run_lock, *_stage_files(layout))
            raise _occupied(layout, next(filter(None, map(_holder, files)), None))
        _await_leftovers(layout)
        with _named(file, what):
            yield


@contextmanager
def one_stage(layout: Layout, asset: str, partition: str | None, what: str) -> Iterator[None]:
    """Makes a stage alone during the block, beside other stages.

    Args:
        layout: of the recipe.
        asset: that is made.
        partition: its iteration, if it has any.
        what: makes it, for the sentence of those who come later.

    Raises:
        UserError: `selftaught run` is at work there, or someone else makes the same; or the folder cannot be written.
    """
    with _opened(layout.run_lock) as run, _opened(layout.stage_lock(asset, partition)) as stage:
        if not _locked(run, fcntl.LOCK_SH):
            holder = _holder(layout.run_lock)
            if holder is None or holder.process not in (Process.own(), Process.parent()):
                raise _occupied(layout, holder)
        if not _locked(stage, fcntl.LOCK_EX):
            raise _occupied(layout, _holder(layout.stage_lock(asset, partition)))
        with _named(stage, what):
            yield


_STAGE = ExitStack()


def begin_stage(layout: Layout, asset: str, partition: str | None, what: str) -> None:
    """`one_stage` without a block: until `end_stage`, or the next stage of this process, or its end."""
    end_stage()
    _STAGE.enter_context(one_stage(layout, asset, partition, what))


def end_stage() -> None:
    """Ends the stage of this process, if there is one."""
    _STAGE.close()


def _await_leftovers(layout: Layout) -> None:
    """Waits until steps have ended whose run was killed: whoever holds the whole folder knows of no others."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    for path in _stage_files(layout):
        with _opened(path) as file:
            while not _locked(file, fcntl.LOCK_SH):
                if time.monotonic() > deadline:
                    raise _occupied(layout, _holder(path))
                time.sleep(_POLL_SECONDS)


def _stage_files(layout: Layout) -> list[Path]:
    return sorted(layout.stage_locks.glob("*.lock"))


def _occupied(layout: Layout, holder: Holder | None) -> UserError:
    return UserError(
        f"{_capitalized(str(holder or 'another process'))} is at work on recipe {layout.recipe} in {layout.folder}: "
        "wait until it has ended, or stop it, and try again."
    )


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {os.strerror(error.errno).lower()}.") from None
    with file:  # Which ends the lock as well.
        yield file


@contextmanager
def _named(file: IO[str], what: str) -> Iterator[None]:
    """Writes into a locked file who holds it, and takes it out again. On a full disk it is locked without a name."""
    holder = Holder.own(what)
    file.truncate(0)
    with suppress(OSError):
        os.write(file.fileno(), (json.dumps(asdict(holder)) + "\n").encode())
    try:
        yield
    finally:
        file.truncate(0)


def _holder(path: Path) -> Holder | None:
    """Who holds a file, as far as it says so: it is written a moment after it is locked, and outlives a kill."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        holder = Holder(content["what"], content["since"], Process(**content["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if holder.process.is_gone() else holder


def _locked(file: IO[str], how: int) -> bool:
    """Locks a file; False where somebody else holds it.

    A file system that knows no locks, as some networks' do, is written without one, and a line in the log says so.
    """
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        _LOG.warning(
            "%s cannot be locked (%s): make sure that only one run at a time works on this recipe.",
            file.name,
            os.strerror(error.errno).lower(),
        )
    return True
