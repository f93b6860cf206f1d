"""A process that ends the processes of another one which is gone, however it went.

vLLM's processes outlive a parent that is killed, and keep the memory of the device: the run that is to resume the work
would find none. Belongs here: watching the parent, and the end of what it left. Not here: vLLM. Run as a script, this
file needs no other of ours.
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


@contextmanager
def guarded_start() -> Iterator[Callable[[], None]]:
    """Processes that start below this one inside the block are killed when this one is gone.

    Yields:
        What to call once they have ended in order: it ends the guard. It is called where the block fails.
    """
    command = [sys.executable, __file__, str(os.getpid())]
    # In a session of its own, since whoever kills this process may kill its group.
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)

    def release() -> None:
        guard.stdin.close()
        guard.wait()

    try:
        yield release
        guard.stdin.write(b"\n")
        guard.stdin.flush()
    except BaseException:
        release()
        raise


def _watch(parent: psutil.Process) -> None:
    """Reads the parent's pipe: a line says that all has started; its end, that the parent is gone or has ended all."""
    before = {psutil.Process(), *_descendants(parent)}
    started: set[psutil.Process] = set()
    while not select.select([sys.stdin], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
        started |= _descendants(parent)
    if os.read(sys.stdin.fileno(), 1):
        started |= _descendants(parent)
        os.read(sys.stdin.fileno(), 1)
    for process in started - before:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _descendants(parent: psutil.Process) -> set[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return set(parent.children(recursive=True))
    return set()


if __name__ == "__main__":
    _watch(psutil.Process(int(sys.argv[1])))
