"""Promotion records: what was decided about a checkpoint, and who overrode it.

A record belongs to the digest of a checkpoint's weights, so a checkpoint that is trained anew with another result has
none. Belongs here: the record and its file. Not here: the rule (method/promotion.py) and what follows (assets).
"""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selftaught_assets.errors import UserError
from selftaught_assets.method.promotion import Outcome, Rule
from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.schema import Record, read_record


class Override(BaseModel):
    """Someone let a checkpoint judge although it was not promoted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    """Name of the user."""
    at: datetime
    """With its time zone."""
    reason: str


class Promotion(Record):
    """What was decided about one checkpoint. Counts are of greedy verdicts, both orders of each pair.

    Up to version 1 the decision was by McNemar's test, which takes the two verdicts on a pair as independent.
    """

    schema_version: int = Field(2, ge=1, strict=True)
    checkpoint: str
    """Digest of the weights that the decision is about."""
    in_office: str
    """Digest of the judge that it was compared with."""
    benchmark: str
    rule: Rule
    alpha: float
    stop_when_flat: int | None
    outcome: Outcome
    n: int
    gained: int
    lost: int
    p_value: float
    """Of the sign-flip test over instructions; of McNemar's in version 1."""
    flat: int
    """Successive iterations without a significant gain, up to this one."""
    override: Override | None = None

    @property
    def clustered(self) -> bool:
        """Whether the test kept the verdicts on one instruction together."""
        return self.schema_version >= 2

    @property
    def may_judge(self) -> bool:
        return self.outcome == Outcome.PROMOTED or self.override is not None


def read_promotion(folder: Path, digest: str) -> Promotion | None:
    """What was decided about the checkpoint with this digest; None: nothing yet.

    Raises:
        UserError: the record is damaged, or of a newer release.
    """
    path = promotion_path(folder, digest)
    try:
        promotion = read_record(Promotion, path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except ValidationError:
        raise UserError(f"{path} is no promotion record: delete it and materialize `checkpoint` again.") from None
    return promotion if promotion.checkpoint == digest else None


def write_promotion(folder: Path, promotion: Promotion) -> None:
    """Puts the record in place of an older one of the same checkpoint.

    Raises:
        UserError: the disk is full.
    """
    with written_aside(promotion_path(folder, promotion.checkpoint)) as aside:
        aside.write_text(promotion.model_dump_json(indent=2) + "\n", encoding="utf-8")


def promotion_path(folder: Path, digest: str) -> Path:
    """The record of the checkpoint with this digest."""
    return folder / f"{digest[:16]}.json"
