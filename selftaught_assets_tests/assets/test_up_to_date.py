"""A finished iteration is known as such, and each way to be no longer up to date is seen."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_version, with_data_version
from selftaught_assets.assets.up_to_date import why_to_run
from selftaught_assets.definitions import build_definitions
from selftaught_assets_tests.assets.loop import Loop, copy_of

FIRST, SECOND = "iteration_01", "iteration_02"


@pytest.fixture(scope="module")
def loop(two_iterations: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Two finished iterations."""
    with copy_of(two_iterations, tmp_path_factory.mktemp("up_to_date")) as copied:
        yield copied


def why(loop: Loop, iteration: str = FIRST, definitions: dg.Definitions | None = None) -> str | None:
    return why_to_run(loop.instance, Family(loop.recipe, loop.layout), iteration, definitions or loop.definitions)


def test_finished_iterations_are_up_to_date(loop: Loop) -> None:
    assert why(loop, FIRST) is None
    assert why(loop, SECOND) is None


def test_an_iteration_that_was_handed_its_judge_only_is_missing_the_rest(first_iteration: Loop) -> None:
    assert first_iteration.layout.judge(SECOND).exists()
    assert why(first_iteration, SECOND) == "instructions is missing"


def _altered(path: Path) -> None:
    table = pl.read_parquet(path)
    table.with_columns(pl.lit("another").alias("instruction")).write_parquet(path)


def _damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [_altered, _damaged, Path.unlink])
def test_a_table_that_is_not_the_one_that_was_made(loop: Loop, damage: Callable[[Path], None]) -> None:
    with _put_back(loop.layout.table("pairs", FIRST)) as path:
        damage(path)
        assert why(loop) == "the files of pairs are not those that were made"
    assert why(loop) is None


def test_weights_that_are_not_those_that_were_trained(loop: Loop) -> None:
    (weights,) = loop.layout.checkpoints(FIRST).glob("*/adapter_model.safetensors")
    with _put_back(weights) as path:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert why(loop) == "the files of checkpoint are not those that were made"


def test_a_pointer_to_another_judge(loop: Loop) -> None:
    with _put_back(loop.layout.judge(SECOND)) as path:
        shutil.copyfile(loop.layout.judge(FIRST), path)
        assert why(loop, SECOND) == "the files of judge are not those that were made"


def test_a_recipe_that_asks_for_something_else(loop: Loop) -> None:
    recipe = loop.recipe.model_copy(update={"filter": loop.recipe.filter.model_copy(update={"validation_share": 0.2})})
    other = build_definitions([recipe], data=loop.layout.root)
    assert why(loop, definitions=other) == "the recipe changed for filtered_set"


@pytest.mark.parametrize(
    ("changed", "of", "iteration", "reason"),
    [
        ("instruction_pool", None, FIRST, "instruction_pool changed after instructions was made of it"),
        ("checkpoint", FIRST, SECOND, "iteration_01 has another checkpoint now"),
    ],
)
def test_something_upstream_that_was_made_anew(
    loop: Loop, changed: str, of: str | None, iteration: str, reason: str
) -> None:
    key, before = loop.key(changed), newest_version(loop.instance, loop.key(changed), of)
    metadata = loop.metadata(changed, of)
    for version, expected in (("another", reason), (before, None)):
        made = dg.AssetMaterialization(
            key,
            partition=of,
            tags=with_data_version(dg.DataVersion(version)),
            metadata={name: metadata[name] for name in ("checkpoint_folder",) if name in metadata},
        )
        loop.instance.report_runless_asset_event(made)
        assert why(loop, iteration) == expected


def test_a_check_that_stopped_the_run_but_not_one_that_warns(loop: Loop) -> None:
    for asset, name, severity, reason in (
        ("pairs", "pair_validity", dg.AssetCheckSeverity.WARN, None),
        (
            "filtered_set",
            "label_balance",
            dg.AssetCheckSeverity.ERROR,
            "the check label_balance of filtered_set did not pass",
        ),
    ):
        failed = dg.AssetCheckEvaluation(loop.key(asset), name, False, {}, severity=severity, partition=FIRST)
        loop.instance.report_runless_asset_event(failed)
        assert why(loop) == reason


@contextmanager
def _put_back(path: Path) -> Iterator[Path]:
    content = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(content)
