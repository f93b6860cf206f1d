import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage.files import folder_written_aside, require_writable, written_aside
from selftaught_assets_tests.conftest import ROOT

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

DIE_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from selftaught_assets.storage.files import written_aside
with written_aside(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    with written_aside(path) as aside:
        aside.write_text("new", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", ["file/new", "file/below/new", pytest.param("x" * 300, id="long")])
def test_where_no_folder_can_be_made_one_sentence_says_so(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = pytest.raises(UserError, match=r"(new|xx) cannot be written: ")
    with wanted, folder_written_aside(tmp_path / place):
        pytest.fail("the block is not entered")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["file/new", "file/below/new", "/proc/new", pytest.param("x" * 300, id="long")])
def test_a_file_that_cannot_be_written_is_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(UserError, match="cannot be written: "):
        require_writable(path)
    with pytest.raises(UserError, match="cannot be written: "), written_aside(path) as aside:
        aside.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_refuses_a_file_is_named(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}.*{os.strerror(number).lower()}"), written_aside(tmp_path / "new"):
        raise OSError(number, os.strerror(number), str(tmp_path / ".new.partial"))


def test_an_input_that_cannot_be_read_is_not_taken_for_the_output(tmp_path: Path) -> None:
    refused = PermissionError(errno.EACCES, "", "/models/base/tokenizer.json")
    with pytest.raises(UserError) as raised, folder_written_aside(tmp_path / "new"):
        raise refused
    assert str(raised.value).startswith("/models/base/tokenizer.json cannot be used: permission denied")


def test_a_tree_that_cannot_be_copied_is_one_sentence(tmp_path: Path) -> None:
    failed = shutil.Error([("a", "b", "[Errno 28] No space left on device"), ("c", "d", "another")])
    with pytest.raises(UserError, match="No space left on device"), folder_written_aside(tmp_path / "new"):
        raise failed
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "new"):
        (tmp_path / "other" / "file").read_text()


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_old_content_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old", encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, str(path)], cwd=ROOT)
    assert killed.returncode < 0
    assert path.read_text(encoding="utf-8") == "old"
    with written_aside(path) as aside:
        aside.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"


def test_two_writers_of_one_path_do_not_touch_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with written_aside(path) as first:
        first.write_text("first", encoding="utf-8")
        with written_aside(path) as second:
            second.write_text("second", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "second"
    assert path.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_path_leave_the_whole_content_of_one(tmp_path: Path) -> None:
    path = tmp_path / "file.json"

    def write(number: int) -> None:
        for _ in range(10):
            with written_aside(path) as aside:
                aside.write_text(str(number) * 1_000, encoding="utf-8")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert path.read_text(encoding="utf-8") in {str(number) * 1_000 for number in range(4)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"Could not write into {tmp_path}: file too large; free some space and run it again.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [".", "../empty", "link", "dangling", "new"])
def test_a_folder_is_filled_where_somebody_stands_in_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "empty"
    here.mkdir()
    monkeypatch.chdir(here)
    if place in ("link", "dangling", "new"):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to("empty")
        (tmp_path / "dangling").symlink_to("elsewhere")
    with folder_written_aside(Path(place)) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "file").touch()
        assert not (Path(place) / "below").exists()
    assert [str(path) for path in Path().glob(f"{place}/**/file")] == [str(Path(place) / "below" / "file")]
    assert [path.name for path in Path(place).iterdir()] == ["below"]
