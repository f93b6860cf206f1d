"""All that the checks of one recipe look at, and faults that are planted in it.

A fault names the one check and rule that has to find it, the rows by their ids, and the severity.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import dagster as dg
import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from selftaught_assets.checks.results import check_result, validate
from selftaught_assets.checks.rules import RowRule, Subject, Suite
from selftaught_assets.checks.suites import suites_of
from selftaught_assets.method.benchmarks import items_read
from selftaught_assets.method.training_set import training_set_digest
from selftaught_assets.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from selftaught_assets.recipe import Recipe
from selftaught_assets.staleness import basis_of
from selftaught_assets.storage.checkpoints import MANIFEST, Manifest, TrainingMetrics, read_manifest, write_current
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, adapter_digest, reference_model, write_pointer
from selftaught_assets.storage.stored import VERSION_LENGTH
from selftaught_assets_tests.checks.tables import BENCHMARK, Tables, changed, make_tables

FIRST, SECOND = "iteration_01", "iteration_02"


@dataclass(frozen=True)
class World:
    """One recipe with its tables, judges and checkpoints."""

    recipe: Recipe
    tables: Tables
    layout: Layout

    def suite(self, asset: str, check: str) -> Suite:
        (suite,) = [suite for suite in suites_of(self.recipe) if (suite.asset, suite.name) == (asset, check)]
        return suite

    def result(self, asset: str, check: str, iteration: str = FIRST) -> dg.AssetCheckResult:
        suite = self.suite(asset, check)
        rows = suite.rows(Subject(self.tables, self.layout, iteration))
        return check_result(suite, rows, validate(suite, rows).findings, dg.AssetKey(asset))

    def changed(self, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> "World":
        return replace(self, tables=changed(self.tables, name, change))

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the first iteration."""
        return self.layout.checkpoints(FIRST) / "trained"


def make_world(recipe: Recipe, folder: Path) -> World:
    """Tables, and two iterations of judges: the seed, and the checkpoint that the first iteration trained."""
    world = World(recipe, make_tables(recipe), Layout(folder, recipe.name))
    stored = (("benchmarks", None), ("filtered_set", FIRST), ("seed_evaluation", None), ("evaluation", FIRST))
    for name, partition in stored:
        path = world.layout.table(name, partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        world.tables[name].write_parquet(path)
    items_read("labelled", BENCHMARK).write_parquet(world.layout.benchmark_items)
    seed = reference_model(recipe.seed_model)
    trained = write_checkpoint(world.checkpoint, seed, training_set_digest(world.tables["filtered_set"]))
    write_current(world.layout.current_checkpoint(FIRST), trained, basis_of(recipe, "checkpoint"))
    for iteration, model in ((FIRST, seed), (SECOND, trained)):
        world.layout.judge(iteration).parent.mkdir(exist_ok=True)
        made_of = {} if iteration == FIRST else {"checkpoint": model.digest[:VERSION_LENGTH]}
        basis = basis_of(recipe, "judge", made_of)
        write_pointer(world.layout.judge(iteration), model, root=folder, basis=basis)
    return world


def write_checkpoint(folder: Path, seed: ModelReference, examples: str, scale: float = 1.0) -> ModelReference:
    """A checkpoint with an adapter of random numbers and a loss that fell."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    tensors = {
        f"layer.{n}.lora_{side}.weight": scale * draws.random((4, 4), np.float32) for n in (0, 1) for side in "AB"
    }
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    (folder / ADAPTER_CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}), encoding="utf-8")
    digest = adapter_digest(folder, seed.digest)
    manifest = Manifest(
        recipe="small",
        training_key="key",
        base_digest=seed.digest,
        start_digest=seed.digest,
        training_set_digest=examples,
        digest=digest,
        training={},
        seed=1,
        metrics=metrics([2.0 / step for step in range(1, 17)], [0.5, 0.4]),
        versions={},
    )
    write_manifest(folder, manifest)
    return ModelReference(seed.base, folder, digest)


def metrics(training: list[float], validation: list[float]) -> TrainingMetrics:
    return TrainingMetrics(
        train_loss=training[-1],
        train_loss_curve=tuple(enumerate(training, 1)),
        validation_loss=validation[-1],
        validation_losses=tuple(validation),
        steps=len(training),
        examples=20,
        validation_examples=9,
        too_long=0,
        tokens=100,
        seconds=1.0,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")


def with_manifest(world: World, **values: object) -> World:
    """The first checkpoint with other values in its manifest."""
    write_manifest(world.checkpoint, read_manifest(world.checkpoint).model_copy(update=values))
    return world


def with_tensors(world: World, change: Callable[[str, np.ndarray], np.ndarray]) -> World:
    """The first checkpoint with other weights, which its manifest names rightly."""
    path = world.checkpoint / ADAPTER_WEIGHTS
    save_file({name: change(name, tensor) for name, tensor in load_file(path).items()}, path)
    base = read_manifest(world.checkpoint).base_digest
    return with_manifest(world, digest=adapter_digest(world.checkpoint, base))


def copied(world: World, folder: Path) -> World:
    """The same on a copy of its files, to be spoiled."""
    shutil.copytree(world.layout.root, folder)
    return replace(world, layout=Layout(folder, world.recipe.name))


class Fault(NamedTuple):
    """How to break one rule, and how the check must say so."""

    asset: str
    check: str
    rule: str
    plant: Callable[[World], World]
    ids: Callable[[World], list[object]] | None = None
    """The rows at fault by the first column that the check shows, from the spoiled world; None where no row is."""
    severity: Literal["ERROR", "WARN"] = "ERROR"
    iteration: str = FIRST

    @property
    def name(self) -> str:
        return f"{self.asset}-{self.check}-{self.rule}"


def assert_caught(fault: Fault, world: World) -> None:
    """The fault is found by its check, under the name of its rule, with its number, its threshold and its rows."""
    result = world.result(fault.asset, fault.check, fault.iteration)
    assert not result.passed
    assert result.severity.value == fault.severity, result.description
    suite = world.suite(fault.asset, fault.check)
    (rule,) = [rule for rule in suite.rules if rule.name == fault.rule]
    observed = value(result, rule.name)
    if isinstance(rule, RowRule):
        assert observed > 0
    else:
        assert (rule.low is not None and observed < rule.low) or (rule.high is not None and observed > rule.high)
        bounds = {"min": rule.low, "max": rule.high}
        assert all(value(result, f"{rule.name}_{end}") == bound for end, bound in bounds.items() if bound is not None)
        assert rule.measure.lower() in result.description.lower()
    if fault.ids is None:
        return
    expected = [str(id) for id in fault.ids(world)]
    shown = offenders(result, rule.name, suite.shown[0])
    assert shown
    assert shown == expected[: len(shown)]
    if isinstance(rule, RowRule):
        assert observed == len(expected)
        assert f"({suite.shown[0]} {expected[0]}" in result.description


def value(result: dg.AssetCheckResult, name: str) -> object:
    return result.metadata[name].value


def offenders(result: dg.AssetCheckResult, rule: str, column: str) -> list[str]:
    records = [record.data for record in result.metadata["offending_rows"].records]
    return [record[column] for record in records if record["rule"] == rule]


def kept_ids(name: str, column: str) -> Callable[[World], list[object]]:
    """The ids of all kept rows of a table, as `Fault.ids` wants them."""
    return lambda world: world.tables[name].filter(pl.col("drop_reason").is_null())[column].to_list()


def in_all(name: str, **values: pl.Expr) -> Callable[[World], World]:
    """Plants values in every row of a table."""
    return lambda world: world.changed(name, lambda frame: frame.with_columns(**values))
