"""Checkpoint folders, complete or absent, and the promotion decisions about them.

A folder is written aside, in a sibling `.….partial` that its writer holds locked. The manifest goes in last, all is
synced, then the folder is renamed. So a folder with a manifest is whole, and one without counts as absent.

A promotion record says what was decided about a checkpoint, and who overrode it. It belongs to the digest of a
checkpoint's weights, so a checkpoint that is trained again with another result has none.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selftaught_assets.errors import UserError
from selftaught_assets.method.scoring.comparison import Outcome, Rule
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.files import Record, fsync, read_record, writing_into, written_aside
from selftaught_assets.storage.models import ModelReference, adapted, adapter_digest, base_alone

MANIFEST = "manifest.json"
CURRENT = "current.json"
"""Beside the checkpoints of an iteration: names the current one (`Current`)."""


class TrainingMetrics(BaseModel):
    """What training measured. Losses are mean negative log-likelihoods of a judgment's token, in nats.

    One that is infinite, or no number, is written as such: the manifest stays readable, and the check `loss` sees it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    train_loss: float
    """Mean over the steps of the last epoch; over all where there was less than one."""
    train_loss_curve: tuple[tuple[int, float], ...]
    """(step, mean loss of the steps since the one before), at most 50 points."""
    validation_loss: float | None
    """After the last epoch; None where there is no validation split."""
    validation_losses: tuple[float, ...]
    """After each epoch."""
    steps: int
    examples: int
    validation_examples: int
    too_long: int
    """Examples left out, of both splits, because they exceed the recipe's max_tokens."""
    tokens: int
    """Tokens seen, all epochs together: instructions and judgments."""
    seconds: float
    """Of the training loop, without loading."""


class Manifest(Record):
    """What a checkpoint is made of."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    recipe: str
    training_key: str
    """Digest of all that determines the weights: start, training set, training settings, seed."""
    base_digest: str
    start_digest: str
    """Of the model that training started from: the base, or a judge on it."""
    training_set_digest: str
    digest: str
    """Of the result: base and adapter."""
    training: dict[str, object]
    """The recipe's training section."""
    seed: int
    metrics: TrainingMetrics
    versions: dict[str, str]
    """Python packages that took part."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished checkpoint, or None: a folder without a valid one is no checkpoint.

    Raises:
        UserError: a newer release wrote it.
    """
    path = folder / MANIFEST
    try:
        return read_record(Manifest, path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def find_checkpoint(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint whose weights are the ones it names, or None: absent, unfinished or damaged."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    try:
        whole = adapter_digest(folder, manifest.base_digest) == manifest.digest
    except UserError:
        return None
    return manifest if whole else None


class Current(Record):
    """Which checkpoint of an iteration is the current one, and what it rests on."""

    model_config = ConfigDict(extra="ignore")

    folder: str
    """Its name among the checkpoints of the iteration."""
    digest: str
    """Of base and adapter."""
    basis: Basis


def write_current(path: Path, checkpoint: ModelReference, basis: Basis) -> None:
    """Makes a finished checkpoint the current one of its iteration.

    Args:
        path: `Layout.current_checkpoint` of the iteration.
        checkpoint: its adapter is a folder beside `path`.
        basis: what it rests on.

    Raises:
        UserError: the disk is full.
    """
    assert checkpoint.adapter is not None
    current = Current(folder=checkpoint.adapter.name, digest=checkpoint.digest, basis=basis)
    with written_aside(path) as aside:
        aside.write_text(current.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_current(path: Path) -> Current | None:
    """What `write_current` wrote; None where there is nothing, or nothing that can be read.

    Raises:
        UserError: a newer release wrote it.
    """
    try:
        return read_record(Current, path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def current_checkpoint(folder: Path) -> Path | None:
    """The folder of an iteration's current checkpoint; None if it has none.

    It is the one that `current.json` names, never the newest by its time stamp, which every copy changes. A folder
    of checkpoints without that file, as older versions wrote it, has a current one where there is only one.

    Args:
        folder: `Layout.checkpoints` of the iteration.

    Raises:
        UserError: the current one is not there or not whole, or there are several finished ones, and nothing says
            which is the current one.
    """
    current = read_current(folder / CURRENT)
    if current is not None and read_manifest(folder / current.folder) is not None:
        return folder / current.folder
    if current is not None:
        raise UserError(
            f"The current checkpoint of {folder.name}, {folder / current.folder}, is missing or incomplete: copy it "
            "again, or materialize `checkpoint`."
        )
    finished = [path.parent for path in folder.glob(f"[!.]*/{MANIFEST}") if read_manifest(path.parent) is not None]
    if len(finished) > 1:
        raise UserError(
            f"{folder} holds {len(finished)} checkpoints and no {CURRENT} that names the current one: materialize "
            f"`checkpoint` of {folder.name} again, which trains nothing twice, or name the folder of one of them."
        )
    return finished[0] if finished else None


def find_current_checkpoint(folder: Path) -> Path | None:
    """The same for display: None too if `current_checkpoint` would raise.

    Raises:
        UserError: a newer release named the current one.
    """
    read_current(folder / CURRENT)
    try:
        return current_checkpoint(folder)
    except UserError:
        return None


def reference_checkpoint(folder: Path, base: ModelReference) -> ModelReference:
    """The reference of the judge that a checkpoint makes of its base model.

    Raises:
        UserError: the checkpoint is absent or unfinished, was trained on another base model, or its weights are not
            the ones that its manifest names.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"There is no finished checkpoint in {folder}: materialize `checkpoint` again.")
    if manifest.base_digest != base.digest:
        raise UserError(
            f"The checkpoint {folder} was trained on another base than {base.base}: materialize `checkpoint` again."
        )
    model = adapted(base, folder)
    if model.digest != manifest.digest:
        raise UserError(f"The weights in {folder} are not those of its {MANIFEST}: materialize `checkpoint` again.")
    return model


def base_of(reference: ModelReference) -> ModelReference:
    """The base model alone, without hashing it again.

    Raises:
        UserError: the adapter is not a finished checkpoint.
    """
    if reference.adapter is None:
        return reference
    manifest = read_manifest(reference.adapter)
    if manifest is None:
        raise UserError(f"There is no finished checkpoint in {reference.adapter}: materialize `checkpoint` again.")
    return base_alone(reference, manifest.base_digest)


@contextmanager
def checkpoint_writer(destination: Path) -> Iterator[tuple[Path, Callable[[Manifest], None]]]:
    """Gives a folder to write into and the function that makes a checkpoint of it; without that call nothing is left.

    Folders that killed writers left beside `destination` are removed first. If another writer finishes the same
    destination meanwhile, its checkpoint stays.

    Args:
        destination: the folder to appear.

    Yields:
        The folder aside, and `finish(manifest)`, to be called once, after every other file is written.

    Raises:
        UserError: the disk is full.
    """
    with writing_into(destination.parent):
        _remove_leftovers(destination.parent)
        aside = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:12]}.partial")
        aside.mkdir()
        lock = os.open(aside, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield aside, lambda manifest: _finish(aside, destination, manifest)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(lock)


def _finish(aside: Path, destination: Path, manifest: Manifest) -> None:
    for path in aside.rglob("*"):
        fsync(path)
    with written_aside(aside / MANIFEST) as path:
        path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if find_checkpoint(destination) is not None:
        return
    if destination.exists():
        shutil.rmtree(destination)
    aside.rename(destination)
    fsync(destination.parent)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(".*.partial"):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        except BlockingIOError:
            continue  # Its writer is alive.
        finally:
            os.close(lock)


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
        raise UserError(f"{path} is not a promotion record: delete it and materialize `checkpoint` again.") from None
    return promotion if promotion.checkpoint == digest else None


def write_promotion(folder: Path, promotion: Promotion) -> None:
    """Writes the record, replacing an older one of the same checkpoint.

    Raises:
        UserError: the disk is full.
    """
    with written_aside(promotion_path(folder, promotion.checkpoint)) as aside:
        aside.write_text(promotion.model_dump_json(indent=2) + "\n", encoding="utf-8")


def promotion_path(folder: Path, digest: str) -> Path:
    """The record of the checkpoint with this digest."""
    return folder / f"{digest[:16]}.json"
