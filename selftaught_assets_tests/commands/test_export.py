"""`selftaught export` as a user runs it."""

import os
import subprocess
from pathlib import Path

import pytest

from selftaught_assets_tests.command_line import SELFTAUGHT, selftaught
from selftaught_assets_tests.judge.conftest import Workplace


@pytest.mark.slow
def test_a_judge_is_exported_once_and_a_second_time_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    """As a process, and then in this one."""
    arguments = ["export", "iteration_03", "out", "--merge", "--recipe", str(workplace.recipe_path)]
    data = {"SELFTAUGHT_DATA": str(workplace.data)}
    command = [*SELFTAUGHT, *arguments]
    first = subprocess.run(command, cwd=tmp_path, env=os.environ | data, capture_output=True, text=True)
    second = selftaught(*arguments, folder=tmp_path, **data)
    assert (first.returncode, first.stdout) == (0, "")
    assert first.stderr.startswith("iteration_03 (")
    assert first.stderr.endswith(") is in out.\n")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert second.returncode == 1
    assert second.stderr == "Error: out already exists and is not empty: name a new folder.\n"
