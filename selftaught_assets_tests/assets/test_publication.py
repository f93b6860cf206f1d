"""Publishing the judge on a real instance, one run at a time. Backfills: test_publication_live.py, and in ui."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
from dagster._core.execution.backfill import PartitionBackfill

from selftaught_assets.assets.history import newest_made
from selftaught_assets.assets.publication import BACKFILL_TAG, RETRIED_AS_TAG, _is_to_come, is_given_up
from selftaught_assets.storage.tables import read_provenance, write_table
from selftaught_assets_tests.assets.loop import Loop, copy_of, sentences

LOGGED = ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION")


@pytest.fixture(scope="module")
def loop(first_iteration: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop whose first iteration is done."""
    with copy_of(first_iteration, tmp_path_factory.mktemp("published")) as copied:
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


def test_checkpoint_becomes_the_next_judge_after_it_was_logged_and_checked(loop: Loop) -> None:
    made = loop.metadata("checkpoint", "iteration_01")
    assert loop.metadata("judge", "iteration_02")["judge_digest"] == made["judge_digest"]
    assert loop.version("judge", "iteration_02") == loop.version("checkpoint", "iteration_01")
    run = newest_made(loop.instance, loop.key("checkpoint"), "iteration_01").run_id
    told = [
        (event.event_type_value, event.asset_key and event.asset_key.path[-1], event.partition)
        for record in loop.instance.all_logs(run)
        if (event := record.dagster_event) and event.event_type_value in LOGGED
    ]
    materialized = told.index(("ASSET_MATERIALIZATION", "checkpoint", "iteration_01"))
    published = told.index(("ASSET_MATERIALIZATION", "judge", "iteration_02"))
    checks = [place for place, (kind, _, _) in enumerate(told) if kind == "ASSET_CHECK_EVALUATION"]
    assert sum(materialized < place < published for place in checks) == 5


def test_judge_made_by_hand_equals_the_published_one(loop: Loop) -> None:
    published = loop.version("judge", "iteration_02")
    loop.run("iteration", "iteration_02", ["judge"])
    assert loop.version("judge", "iteration_02") == published


def test_stale_predecessor_is_refused(loop: Loop) -> None:
    path = loop.layout.table("judgments", "iteration_01")
    original = path.read_bytes()
    altered = read_provenance(path).model_copy(update={"data_version": "altered"})
    write_table(path, loop.table("judgments", "iteration_01"), altered)
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused) == [
        "`small/checkpoint` of iteration_01 is stale: judgments changed after filtered_set was made of it; materialize "
        "iteration_01 up to `checkpoint`, then iteration_02."
    ]
    path.write_bytes(original)
    loop.run("iteration", "iteration_02", ["judge"])


def test_checkpoint_of_other_settings_is_refused(loop: Loop) -> None:
    training = loop.recipe.training.model_copy(update={"learning_rate": 5e-4})
    changed = Loop(loop.recipe.model_copy(update={"training": training}), loop.layout.root, loop.instance)
    refused = changed.run("iteration", "iteration_02", ["judge"], fails=True)
    assert "is stale: the recipe changed for checkpoint (`training`)" in sentences(refused)[0]


def test_checkpoint_that_failed_a_check_is_refused(loop: Loop) -> None:
    loop.report_failed_check("checkpoint", "weights", "iteration_01", dg.AssetCheckSeverity.ERROR)
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused) == [
        "`small/checkpoint` of iteration_01 may not judge: the check weights of checkpoint did not pass; materialize "
        "it with its checks, then iteration_02."
    ]
    loop.run("iteration", "iteration_01", ["checkpoint"])
    loop.run("iteration", "iteration_02", ["judge"])


def test_model_that_is_no_numbers_is_never_published(loop: Loop, tmp_path: Path) -> None:
    with copy_of(loop, tmp_path) as copied:
        training = copied.recipe.training.model_copy(update={"learning_rate": 1e30})
        broken = Loop(copied.recipe.model_copy(update={"training": training}), copied.layout.root, copied.instance)
        judge = broken.version("judge", "iteration_02")
        broken.run("iteration", "iteration_01", ["checkpoint"], fails=True)
        assert broken.version("checkpoint", "iteration_01") != judge
        assert broken.version("judge", "iteration_02") == judge
        refused = broken.run("iteration", "iteration_02", ["judge"], fails=True)
        assert "may not judge: the check" in sentences(refused)[0]


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


def test_what_a_backfill_has_made_is_not_to_come_though_the_clock_was_set_back_since_it_began() -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["iteration_01"]))
    def checkpoint() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        backfill = PartitionBackfill.from_partitions_by_assets(
            backfill_id="backfill",
            asset_graph=dg.Definitions([checkpoint]).resolve_asset_graph(),
            backfill_timestamp=time.time() + 86_400,
            tags={},
            dynamic_partitions_store=instance,
            partitions_by_assets=[
                PartitionsByAssetSelector(
                    asset_key=checkpoint.key,
                    partitions=PartitionsSelector([PartitionRangeSelector("iteration_01", "iteration_01")]),
                )
            ],
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        for tags, to_come in (({}, True), ({BACKFILL_TAG: "another"}, True), ({BACKFILL_TAG: "backfill"}, False)):
            dg.materialize([checkpoint], instance=instance, partition_key="iteration_01", tags=tags)
            assert _is_to_come(instance, "backfill", checkpoint.key, "iteration_01") is to_come


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
