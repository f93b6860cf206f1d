"""The command line, as a user types it.

In this process it spares the seconds that its imports take. What only a process of its own shows is tested in
test_cli.py, and by one test of each command.
"""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

SELFTAUGHT = [sys.executable, "-c", "from selftaught_assets.cli import main; main()"]
"""Starts it as a process."""
Done = CompletedProcess[str]
"""A command that has ended: its exit status, and what it printed."""


def selftaught(*arguments: str, folder: Path, **environment: str) -> Done:
    """Runs `selftaught` in this process, where there is no terminal.

    Args:
        arguments: all that follows `selftaught`.
        folder: in which it is typed.
        environment: variables beside those of this process.
    """
    from selftaught_assets.cli import main

    printed, said = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed), redirect_stderr(said):
        patched.setattr(sys, "argv", ["selftaught", *arguments])
        patched.chdir(folder)
        for name, value in environment.items():
            patched.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(sys.argv, ended.value.code or 0, printed.getvalue(), said.getvalue())
