import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selftaught_assets.errors import UserError
from selftaught_assets.storage.checkpoints import (
    Manifest,
    TrainingMetrics,
    base_of,
    checkpoint_writer,
    find_checkpoint,
    read_manifest,
    reference_checkpoint,
)
from selftaught_assets.storage.models import ModelReference, adapter_digest

BASE = ModelReference(Path("/models/seed"), None, "b" * 64)
METRICS = TrainingMetrics(
    train_loss=1.0,
    train_loss_curve=((1, 1.0),),
    validation_loss=None,
    validation_losses=(),
    steps=1,
    examples=1,
    validation_examples=0,
    too_long=0,
    tokens=9,
    seconds=0.5,
)


def _write_adapter(folder: Path, value: float = 1.0) -> None:
    save_file({"lora_A": np.full((4, 3), value, dtype=np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}), encoding="utf-8")


def _manifest(folder: Path) -> Manifest:
    return Manifest(
        recipe="tiny",
        training_key="k" * 64,
        base_digest=BASE.digest,
        start_digest=BASE.digest,
        training_set_digest="t" * 64,
        digest=adapter_digest(folder, BASE.digest),
        training={},
        seed=1,
        metrics=METRICS,
        versions={},
    )


def _write(destination: Path, value: float = 1.0) -> Path:
    with checkpoint_writer(destination) as (folder, finish):
        _write_adapter(folder, value)
        finish(_manifest(folder))
    return destination


def test_a_finished_checkpoint_is_there_with_nothing_beside_it(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "iteration_01" / "one")
    assert find_checkpoint(checkpoint) == _manifest(checkpoint)
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_until_it_is_finished_nothing_counts_as_a_checkpoint(tmp_path: Path) -> None:
    destination = tmp_path / "one"
    with checkpoint_writer(destination) as (folder, finish):
        _write_adapter(folder)
        assert not destination.exists()
        assert not (folder / "manifest.json").exists()
        finish(_manifest(folder))
        assert find_checkpoint(destination) is not None


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), checkpoint_writer(tmp_path / "one") as (folder, _):
        _write_adapter(folder)
        raise RuntimeError("training diverged")
    assert list(tmp_path.iterdir()) == []


def test_the_next_writer_removes_the_remains_of_dead_ones_but_not_of_living_ones(tmp_path: Path) -> None:
    dead = tmp_path / ".one.999999.partial"
    dead.mkdir()
    (dead / "adapter_model.safetensors").write_bytes(b"half")
    with checkpoint_writer(tmp_path / "two") as (living, _):
        assert not dead.exists()
        _write(tmp_path / "one")
        assert living.is_dir()


def test_a_folder_with_an_unreadable_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "one")
    for text in ("", '{"recipe": "tiny"', "{}"):
        (checkpoint / "manifest.json").write_text(text, encoding="utf-8")
        assert read_manifest(checkpoint) is None
        assert find_checkpoint(checkpoint) is None


def test_a_damaged_checkpoint_is_replaced_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "one")
    _write(checkpoint, value=2.0)
    first = read_manifest(checkpoint)
    assert first == find_checkpoint(checkpoint)
    (checkpoint / "adapter_model.safetensors").unlink()
    _write(checkpoint, value=2.0)
    assert find_checkpoint(checkpoint) is not None
    assert read_manifest(checkpoint).digest != first.digest


def test_a_checkpoint_makes_a_judge_of_its_base_and_names_that_base_again(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "one")
    judge = reference_checkpoint(checkpoint, BASE)
    assert judge == ModelReference(BASE.base, checkpoint, adapter_digest(checkpoint, BASE.digest))
    assert base_of(judge) == BASE
    assert base_of(BASE) == BASE


def test_a_judge_keeps_its_digest_when_its_folder_moves(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path / "one")
    before = reference_checkpoint(checkpoint, BASE).digest
    moved = Path(shutil.move(checkpoint, tmp_path / "moved"))
    assert reference_checkpoint(moved, BASE).digest == before


def test_a_checkpoint_that_is_no_judge_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no finished checkpoint in "):
        reference_checkpoint(tmp_path / "none", BASE)
    checkpoint = _write(tmp_path / "one")
    with pytest.raises(UserError, match="was trained on another base"):
        reference_checkpoint(checkpoint, ModelReference(Path("/models/other"), None, "c" * 64))
    _write_adapter(checkpoint, value=3.0)
    with pytest.raises(UserError, match="are not those of its manifest"):
        reference_checkpoint(checkpoint, BASE)
