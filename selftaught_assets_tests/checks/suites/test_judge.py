"""The check of `judge`, fault by fault."""

import json
from pathlib import Path

import pytest

from selftaught_assets.model_files import ADAPTER_WEIGHTS
from selftaught_assets.staleness import basis_of
from selftaught_assets.storage.checkpoints import write_current
from selftaught_assets.storage.models import reference_model, write_pointer
from selftaught_assets_tests.checks.world import (
    FIRST,
    SECOND,
    Fault,
    World,
    assert_caught,
    copied,
    offenders,
    write_checkpoint,
)


def pointed_at_the_seed(world: World) -> World:
    """As if the second iteration were judged by the seed, too."""
    seed = reference_model(world.recipe.seed_model)
    write_pointer(world.layout.judge(SECOND), seed, root=world.layout.root)
    return world


def trained_again(world: World) -> World:
    """Another current checkpoint of the first iteration, which nobody published."""
    seed = reference_model(world.recipe.seed_model)
    folder = world.layout.checkpoints(FIRST) / "again"
    again = write_checkpoint(folder, seed, "other examples", scale=2.0)
    write_current(world.layout.current_checkpoint(FIRST), again, basis_of(world.recipe, "checkpoint"))
    return world


def other_weights(world: World) -> World:
    weights = world.checkpoint / ADAPTER_WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return world


def fault(rule: str, plant, severity: str = "ERROR") -> Fault:
    check = "is_predecessor" if severity == "ERROR" else "is_predecessor_warnings"
    return Fault("judge", check, rule, plant, lambda world: [SECOND], severity, SECOND)


FAULTS = [
    fault("cannot_be_loaded", other_weights),
    fault("not_predecessor", pointed_at_the_seed),
    fault("outdated", trained_again, "WARN"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, world: World, tmp_path: Path):
    assert_caught(fault, fault.plant(copied(world, tmp_path / "copy")))


def test_the_first_judge_must_be_the_one_that_the_recipe_names(world: World, tmp_path: Path):
    spoiled = copied(world, tmp_path / "copy")
    assert spoiled.result("judge", "is_predecessor", FIRST).passed
    pointer = spoiled.layout.judge(FIRST)
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"digest": "another"}), encoding="utf-8")
    result = spoiled.result("judge", "is_predecessor", FIRST)
    assert offenders(result, "not_predecessor", "digest") == ["another"]
    assert offenders(result, "cannot_be_loaded", "digest") == ["another"]


def test_a_judge_whose_folder_is_gone_is_named_with_what_to_do(world: World, tmp_path: Path):
    spoiled = copied(world, tmp_path / "copy")
    spoiled.checkpoint.rename(tmp_path / "elsewhere")
    result = spoiled.result("judge", "is_predecessor", SECOND)
    assert not result.passed
    (problem,) = offenders(result, "cannot_be_loaded", "problem")
    assert "is gone: materialize `judge` of this iteration again" in problem or problem.endswith("…")
