from datetime import UTC, datetime
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.method.scoring.comparison import Outcome
from selftaught_assets.storage.checkpoints import Override, Promotion, promotion_path, read_promotion, write_promotion

REFUSED = Promotion(
    checkpoint="c" * 64,
    in_office="0" * 64,
    benchmark="tiny",
    rule="better",
    alpha=0.05,
    stop_when_flat=None,
    outcome=Outcome.REFUSED,
    n=24,
    gained=1,
    lost=3,
    p_value=0.625,
    flat=1,
)
OVERRIDE = Override(by="ada", at=datetime(2026, 1, 2, tzinfo=UTC), reason="the benchmark is small [sic] é")


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    promotion = REFUSED.model_copy(update={"override": OVERRIDE})
    write_promotion(tmp_path / "promotion", promotion)
    assert read_promotion(tmp_path / "promotion", promotion.checkpoint) == promotion


def test_other_weights_have_no_record(tmp_path: Path) -> None:
    write_promotion(tmp_path, REFUSED)
    assert read_promotion(tmp_path, "d" * 64) is None
    assert read_promotion(tmp_path, "c" * 63 + "d") is None


def test_refused_checkpoint_may_judge_only_if_someone_says_so() -> None:
    assert not REFUSED.may_judge
    assert REFUSED.model_copy(update={"override": OVERRIDE}).may_judge
    assert REFUSED.model_copy(update={"outcome": Outcome.PROMOTED}).may_judge


def test_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    path = promotion_path(tmp_path, REFUSED.checkpoint)
    path.write_text("{")
    with pytest.raises(UserError, match="is not a promotion record: delete it"):
        read_promotion(tmp_path, REFUSED.checkpoint)
