from pathlib import Path

import pytest

from selftaught_assets.storage.files import StageProgress, read_progress, write_progress

SAMPLING = StageProgress("judgments", "iteration_01", 1_200, 14_400, 2_345.6, "tokens", 61.4)


def test_newest_message_is_read_by_whoever_looks(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "stage.json"
    write_progress(path, SAMPLING)
    write_progress(path, SAMPLING._replace(done=1_300, seconds_left=None))
    assert read_progress(path) == SAMPLING._replace(done=1_300, seconds_left=None)
    assert list(path.parent.iterdir()) == [path]


def test_before_the_first_message_there_is_none(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "stage.json") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00" * 9])
def test_a_damaged_message_is_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    path.write_text(content)
    assert read_progress(path) is None


def test_sentence_says_stage_count_rate_and_time_left() -> None:
    assert SAMPLING.sentence() == "judgments iteration_01: 1,200 of 14,400, 2,346 tokens/s, 61 s left"


def test_sentence_leaves_out_what_is_not_known() -> None:
    unknown = SAMPLING._replace(iteration=None, seconds_left=None)
    assert unknown.sentence() == "judgments: 1,200 of 14,400, 2,346 tokens/s"
