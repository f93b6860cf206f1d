import polars as pl
import pytest

from selftaught_assets.method.identity import row_id
from selftaught_assets.method.scoring.calibration import trust


def votes(rows: list[tuple[int, int, str]], copies: int = 1) -> pl.DataFrame:
    """(votes_a, votes_b, label) → rows as they stand in the table of votes; every row is another instruction."""
    rows = rows * copies
    return pl.DataFrame(
        {
            "instruction_id": [row_id("instruction", number) for number in range(len(rows))],
            "votes_a": [a for a, _, _ in rows],
            "votes_b": [b for _, b, _ in rows],
            "votes_tie": 0,
            "votes_invalid": 0,
            "label": [label for _, _, label in rows],
            "verdict": ["A" if a > b else "B" for a, b, _ in rows],
        },
        schema_overrides={"instruction_id": pl.String, "label": pl.String, "verdict": pl.String},
    ).with_columns(pl.col("^votes_.*$").cast(pl.Int64))


SURE_AND_HALF_RIGHT = [(8, 0, "A"), (8, 0, "B")]


def test_a_judge_that_is_as_often_right_as_it_is_sure_has_no_calibration_error() -> None:
    assert trust(votes([(3, 1, "A")] * 3 + [(3, 1, "B")])).calibration_error == pytest.approx(0)


def test_a_sure_judge_that_is_right_half_of_the_time_is_half_off() -> None:
    assert trust(votes(SURE_AND_HALF_RIGHT, copies=50)).calibration_error == pytest.approx(0.5)


def test_calibration_on_the_other_half_mends_overconfidence() -> None:
    found = trust(votes(SURE_AND_HALF_RIGHT, copies=200))
    assert found.calibrated_error < 0.1 < found.calibration_error


def test_one_instruction_alone_cannot_be_calibrated() -> None:
    assert trust(votes([(8, 0, "A")])).calibrated_error is None


def test_abstaining_where_votes_disagree_raises_accuracy() -> None:
    coverage = trust(votes([(8, 0, "A")] * 3 + [(5, 3, "B")])).coverage
    assert coverage.select("coverage", "accuracy").rows() == [(0.75, 1.0), (1.0, 0.75)]


def test_nothing_can_be_said_without_votes() -> None:
    with pytest.raises(ValueError, match="no verdict"):
        trust(votes([]))
