"""`selftaught export` as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught_assets_tests.judge.conftest import Workplace

SELFTAUGHT = [sys.executable, "-c", "from selftaught_assets.cli import main; main()", "export"]


@pytest.mark.slow
def test_a_judge_is_exported_once_and_a_second_time_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    command = [*SELFTAUGHT, "iteration_03", "out", "--merge", "--recipe", str(workplace.recipe_path)]
    environment = os.environ | {"SELFTAUGHT_DATA": str(workplace.data)}
    first, second = (
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True) for _ in range(2)
    )
    assert (first.returncode, first.stdout) == (0, "")
    assert first.stderr.startswith("iteration_03 (")
    assert first.stderr.endswith(") is in out.\n")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert second.returncode == 1
    assert second.stderr == "Error: out is there already and is not empty: name a new folder.\n"
