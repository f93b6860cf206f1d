import subprocess
import sys
from pathlib import Path

import pytest

from selftaught_assets.storage.files import written_aside

ROOT = Path(__file__).resolve().parent.parent.parent
FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from selftaught_assets.errors import UserError
from selftaught_assets.storage.files import written_aside
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with written_aside(Path(sys.argv[1])) as aside:
        aside.write_text("x" * 5000)
except UserError as error:
    print(error)
"""
"""A limit on the size of files stands for a full disk: the same kind of error, and no root is needed for it."""


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    with written_aside(path) as aside:
        aside.write_text("new", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"Could not write into {tmp_path}: file too large; free some space and run it again.\n"
    assert list(tmp_path.iterdir()) == []
