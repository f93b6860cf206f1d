"""How processes with heavy imports start."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


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


def import_quickly(*modules: str) -> None:
    """Imports transformers and what builds on it, for a process that needs little else; does nothing a second time.

    transformers imports scikit-learn wherever it is installed, for a way of generating that is not used here. None in
    the place of a module makes it absent: that saves a second. Who needs scikit-learn imports it afterwards. What was
    imported is not frozen, as for forks: a library that looks for leaks at the end of the process would report it.
    """
    if all(module in sys.modules for module in modules):
        return
    hidden = {} if "sklearn" in sys.modules else {"sklearn": None}
    sys.modules.update(hidden)
    gc.disable()
    try:
        for module in modules:
            import_module(module)
    finally:
        gc.enable()
        for name in hidden:
            del sys.modules[name]
