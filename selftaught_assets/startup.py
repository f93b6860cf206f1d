"""How processes with heavy imports start.

Belongs here: what makes imports, and forks after them, quick. Not here: what is imported (preload.py, training/).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """For a block of imports: takes a quarter less time, and forks are cheaper afterwards.

    What modules hold stays until the process ends. Python's collector nevertheless looks through all of it, again and
    again while it grows; in a process that was forked, the first look copies all of its memory.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
