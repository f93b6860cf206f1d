"""A process that ends the processes of another one which is gone, however it went.

vLLM's processes outlive a parent that is killed, and keep the memory of the device: the run that is to resume the
work would find none. Run as a script, this file needs no other of ours.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

_SECONDS_BETWEEN_LOOKS = 0.5
_WATCHING, _STARTED, _RELEASED = b"w", b"s", b"r"


@contextmanager
def guarded_start() -> Iterator[Callable[[], None]]:
    """Processes that start below this one inside the block are killed if this one ends without a word.

    Yields:
        What to call once they have ended in order: it ends the guard. It is called where the block fails.
    """
    command = [sys.executable, __file__, str(os.getpid())]
    # In a separate session, because a kill of this process may hit its whole group.
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def release() -> None:
        guard.communicate(_RELEASED)

    try:
        guard.stdout.read(len(_WATCHING))
        yield release
        guard.stdin.write(_STARTED)
        guard.stdin.flush()
    except BaseException:
        release()
        raise


def _watch(parent: psutil.Process) -> None:
    """Listens to the parent, and kills what it started if it falls silent before it has released the guard."""
    before = {psutil.Process(), *_descendants(parent)}
    os.write(sys.stdout.fileno(), _WATCHING)
    started: set[psutil.Process] = set()
    while not select.select([sys.stdin], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
        started |= _descendants(parent)
    word = os.read(sys.stdin.fileno(), 1)
    if word == _STARTED:
        started |= _descendants(parent)
        word = os.read(sys.stdin.fileno(), 1)
    if word != _RELEASED:
        for process in started - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _descendants(parent: psutil.Process) -> set[psutil.Process]:
    """All but the resource tracker of multiprocessing: it ends of itself, and frees shared memory before."""
    found = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in parent.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # One that ended since it was listed hides no other.
                if not any("resource_tracker" in part for part in process.cmdline()):
                    found.add(process)
    return found


if __name__ == "__main__":
    _watch(psutil.Process(int(sys.argv[1])))
