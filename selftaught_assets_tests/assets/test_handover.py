"""The hand-over of the judge on a real instance, one run at a time; handover_live.py holds the backfills."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import write_small_recipe


@pytest.fixture(scope="module")
def first_iteration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop whose first iteration is done."""
    folder = tmp_path_factory.mktemp("handover")
    recipe = load_recipe(str(write_small_recipe(folder)))
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        loop = Loop(recipe, folder / "data", instance)
        loop.run("prepare")
        loop.run("iteration", "iteration_01")
        yield loop


def test_second_iteration_asked_for_first_fails_at_once_with_one_sentence(small_recipe, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        loop = Loop(small_recipe(), tmp_path / "data", instance)
        started = time.monotonic()
        result = loop.run("iteration", "iteration_02", ["judge"], fails=True)
        assert time.monotonic() - started < 60
        assert sentences(result) == ["`small/checkpoint` of iteration_01 does not exist: materialize it first."]


def test_first_judge_is_the_seed_model(first_iteration: Loop) -> None:
    seed = first_iteration.metadata("seed_model")["judge_digest"]
    assert first_iteration.metadata("judge", "iteration_01")["judge_digest"] == seed
    assert first_iteration.table("judgments", "iteration_01")["judge"].unique().to_list() == [seed]


def test_finished_checkpoint_is_logged_as_the_next_judge(first_iteration: Loop) -> None:
    made = first_iteration.metadata("checkpoint", "iteration_01")
    assert first_iteration.metadata("judge", "iteration_02")["judge_digest"] == made["judge_digest"]
    assert first_iteration.version("judge", "iteration_02") == first_iteration.version("checkpoint", "iteration_01")


def test_judge_made_by_hand_equals_the_one_handed_over(first_iteration: Loop) -> None:
    handed_over = first_iteration.version("judge", "iteration_02")
    first_iteration.run("iteration", "iteration_02", ["judge"])
    assert first_iteration.version("judge", "iteration_02") == handed_over


def test_stale_predecessor_is_refused(first_iteration: Loop) -> None:
    original = first_iteration.table("judgments", "iteration_01")
    first_iteration.run("iteration", "iteration_02", ["judge"])
    altered = dg.AssetMaterialization(
        first_iteration.key("judgments"), partition="iteration_01", tags={"dagster/data_version": "altered"}
    )
    first_iteration.instance.report_runless_asset_event(altered)
    refused = first_iteration.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused)[0].startswith(
        "`small/checkpoint` of iteration_01 is stale: `judgments` has changed since"
    )
    first_iteration.run("iteration", "iteration_01", ["judgments"])
    assert first_iteration.table("judgments", "iteration_01").equals(original)
    first_iteration.run("iteration", "iteration_02", ["judge"])


def test_iteration_of_a_failed_newest_attempt_is_refused(first_iteration: Loop) -> None:
    pairs = first_iteration.layout.table("pairs", "iteration_01")
    aside = pairs.rename(pairs.with_suffix(".aside"))
    failed = first_iteration.run("iteration", "iteration_01", ["judgments", "filtered_set", "checkpoint"], fails=True)
    aside.rename(pairs)
    refused = first_iteration.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused)[0].startswith(
        f"The newest attempt to make `small/checkpoint` of iteration_01 (run {failed.run_id}) ended without it"
    )
    first_iteration.run("iteration", "iteration_01", ["judgments", "filtered_set", "checkpoint"])
    first_iteration.run("iteration", "iteration_02", ["judge"])


def test_checkpoint_of_unchanged_examples_is_used_again(first_iteration: Loop) -> None:
    folder = Path(first_iteration.metadata("checkpoint", "iteration_01")["path"])
    written = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    first_iteration.run("iteration", "iteration_01", ["checkpoint"])
    assert Path(first_iteration.metadata("checkpoint", "iteration_01")["path"]) == folder
    assert (folder / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_one_stage_alone_can_be_materialized(first_iteration: Loop) -> None:
    first_iteration.run("iteration", "iteration_02", ["instructions", "pairs"])
    first_iteration.run("iteration", "iteration_02", ["judge"])
    first_iteration.run("iteration", "iteration_02", ["judgments"])
    judges = first_iteration.table("judgments", "iteration_02")["judge"].unique().to_list()
    assert judges == [first_iteration.metadata("checkpoint", "iteration_01")["judge_digest"]]
