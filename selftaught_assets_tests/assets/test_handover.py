"""The hand-over of the judge on a real instance, one run at a time. Backfills: test_handover_live.py, and in ui."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from selftaught_assets.assets.handover import RETRIED_AS_TAG, is_given_up
from selftaught_assets_tests.assets.loop import Loop, copy_of, sentences


@pytest.fixture(scope="module")
def loop(first_iteration: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop whose first iteration is done."""
    with copy_of(first_iteration, tmp_path_factory.mktemp("handover")) as copied:
        yield copied


def test_second_iteration_asked_for_first_fails_at_once_with_one_sentence(small_recipe, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        loop = Loop(small_recipe(), tmp_path / "data", instance)
        started = time.monotonic()
        result = loop.run("iteration", "iteration_02", ["judge"], fails=True)
        assert time.monotonic() - started < 60
        assert sentences(result) == ["`small/checkpoint` of iteration_01 does not exist: materialize it first."]


def test_first_judge_is_the_seed_model(loop: Loop) -> None:
    seed = loop.metadata("seed_model")["judge_digest"]
    assert loop.metadata("judge", "iteration_01")["judge_digest"] == seed
    assert loop.table("judgments", "iteration_01")["judge"].unique().to_list() == [seed]


def test_finished_checkpoint_is_logged_as_the_next_judge(loop: Loop) -> None:
    made = loop.metadata("checkpoint", "iteration_01")
    assert loop.metadata("judge", "iteration_02")["judge_digest"] == made["judge_digest"]
    assert loop.version("judge", "iteration_02") == loop.version("checkpoint", "iteration_01")


def test_judge_made_by_hand_equals_the_one_handed_over(loop: Loop) -> None:
    handed_over = loop.version("judge", "iteration_02")
    loop.run("iteration", "iteration_02", ["judge"])
    assert loop.version("judge", "iteration_02") == handed_over


def test_stale_predecessor_is_refused(loop: Loop) -> None:
    original = loop.table("judgments", "iteration_01")
    loop.run("iteration", "iteration_02", ["judge"])
    altered = dg.AssetMaterialization(
        loop.key("judgments"), partition="iteration_01", tags={"dagster/data_version": "altered"}
    )
    loop.instance.report_runless_asset_event(altered)
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused)[0].startswith(
        "`small/checkpoint` of iteration_01 is stale: `judgments` has changed since"
    )
    loop.run("iteration", "iteration_01", ["judgments"])
    assert loop.table("judgments", "iteration_01").equals(original)
    loop.run("iteration", "iteration_02", ["judge"])


def test_iteration_of_a_failed_newest_attempt_is_refused(loop: Loop) -> None:
    pairs = loop.layout.table("pairs", "iteration_01")
    aside = pairs.rename(pairs.with_suffix(".aside"))
    failed = loop.run("iteration", "iteration_01", ["judgments", "filtered_set", "checkpoint"], fails=True)
    aside.rename(pairs)
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused)[0].startswith(
        f"The newest attempt to make `small/checkpoint` of iteration_01 (run {failed.run_id}) ended without it"
    )
    loop.run("iteration", "iteration_01", ["judgments", "filtered_set", "checkpoint"])
    loop.run("iteration", "iteration_02", ["judge"])


def test_checkpoint_of_unchanged_examples_is_used_again(loop: Loop) -> None:
    folder = Path(loop.metadata("checkpoint", "iteration_01")["path"])
    written = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    loop.run("iteration", "iteration_01", ["checkpoint"])
    assert Path(loop.metadata("checkpoint", "iteration_01")["path"]) == folder
    assert (folder / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_one_stage_alone_can_be_materialized(loop: Loop) -> None:
    loop.run("iteration", "iteration_02", ["instructions", "pairs"])
    loop.run("iteration", "iteration_02", ["judge"])
    loop.run("iteration", "iteration_02", ["judgments"])
    judges = loop.table("judgments", "iteration_02")["judge"].unique().to_list()
    assert judges == [loop.metadata("checkpoint", "iteration_01")["judge_digest"]]


@pytest.mark.parametrize(
    ("status", "tags", "given_up"),
    [
        (dg.DagsterRunStatus.FAILURE, {}, True),
        (dg.DagsterRunStatus.CANCELED, {}, True),
        (dg.DagsterRunStatus.FAILURE, {RETRIED_AS_TAG: "another"}, False),
        (dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "true"}, False),
        (dg.DagsterRunStatus.STARTED, {}, False),
    ],
    ids=["failed", "canceled", "retried", "waiting to be retried", "at work"],
)
def test_run_that_makes_room_is_not_given_up(status: dg.DagsterRunStatus, tags: dict[str, str], given_up: bool) -> None:
    """In a backfill of three iterations, the third one waits for a second one that has made room."""
    assert is_given_up(dg.DagsterRun("job", status=status, tags=tags)) is given_up
