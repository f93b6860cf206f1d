"""The checks of `checkpoint`, fault by fault, on files."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from selftaught_assets.storage.checkpoints import MANIFEST
from selftaught_assets_tests.checks.tables import without
from selftaught_assets_tests.checks.world import (
    FIRST,
    Fault,
    World,
    assert_caught,
    copied,
    metrics,
    value,
    with_manifest,
    with_tensors,
)

FALLING = [2.0 / step for step in range(1, 17)]


def with_losses(training: list[float], validation: list[float]) -> Callable[[World], World]:
    return lambda world: with_manifest(world, metrics=metrics(training, validation))


def with_one_nan(name: str, tensor: np.ndarray) -> np.ndarray:
    if name == "layer.1.lora_A.weight":
        tensor[0, 0] = np.nan
    return tensor


def untrained(name: str, tensor: np.ndarray) -> np.ndarray:
    """As PEFT begins: B is zero, so the adapter adds nothing."""
    return tensor * 0 if "lora_B" in name else tensor


def half_trained(name: str, tensor: np.ndarray) -> np.ndarray:
    return tensor * 0 if name == "layer.0.lora_B.weight" else tensor


def unfinished(world: World) -> World:
    (world.checkpoint / MANIFEST).unlink()
    return world


def other_examples(world: World) -> World:
    path = world.layout.table("filtered_set", FIRST)
    frame = pl.read_parquet(path)
    without(frame, frame["drop_reason"].is_null().arg_max()).write_parquet(path)
    return world


def other_digest(world: World) -> World:
    return with_manifest(world, digest="another")


def fault(check: str, rule: str, plant: Callable[[World], World], ids: list[str] | None, severity="ERROR") -> Fault:
    return Fault("checkpoint", check, rule, plant, None if ids is None else lambda world: ids, severity)


FAULTS = [
    fault("loss", "not_finite", with_losses([*FALLING, math.inf], [0.5]), ["trained"]),
    fault("loss_warnings", "loss_ratio", with_losses(FALLING[::-1], [0.5]), None, "WARN"),
    fault("loss_warnings", "validation_rise", with_losses(FALLING, [0.5, 0.3, 0.6]), None, "WARN"),
    fault("weights", "tensors_not_finite", lambda world: with_tensors(world, with_one_nan), ["trained"]),
    fault("weights", "tensors_with_effect", lambda world: with_tensors(world, untrained), None),
    fault("weights_warnings", "tensors_without_effect", lambda w: with_tensors(w, half_trained), ["trained"], "WARN"),
    fault("digest", "checkpoint_missing", unfinished, [FIRST]),
    fault("digest", "digest_differs", other_digest, ["trained"]),
    fault("digest", "training_set_differs", other_examples, ["trained"]),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World, tmp_path: Path):
    assert_caught(fault, fault.plant(copied(world, tmp_path / "copy")))


def test_a_loss_that_is_no_number_survives_the_manifest(world: World, tmp_path: Path):
    spoiled = with_losses([*FALLING, math.nan], [math.inf])(copied(world, tmp_path / "copy"))
    assert value(spoiled.result("checkpoint", "loss"), "not_finite") == 2


def test_scattered_losses_of_a_few_steps_prove_no_rise(world: World, tmp_path: Path):
    spoiled = with_losses([0.5, 0.9, 0.4, 0.8, 0.5, 0.7, 0.9, 0.6], [0.5])(copied(world, tmp_path / "copy"))
    result = spoiled.result("checkpoint", "loss_warnings")
    assert result.passed
    assert value(result, "loss_ratio") > 1


def test_a_checkpoint_whose_weights_are_gone_is_not_reproduced(world: World, tmp_path: Path):
    spoiled = copied(world, tmp_path / "copy")
    shutil.move(spoiled.checkpoint / "adapter_config.json", tmp_path)
    result = spoiled.result("checkpoint", "digest")
    assert value(result, "digest_differs") == 1
    assert "adapter_config.json" in result.metadata["offending_rows"].records[0].data["problem"]
