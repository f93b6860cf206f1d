"""A finished iteration is known as such, and each way to be no longer up to date is seen."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from selftaught_assets import staleness
from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.assets.io_manager import TableIOManager
from selftaught_assets.commands.running import why_to_run
from selftaught_assets.lineage import trace
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.staleness import ITERATION, STAGES
from selftaught_assets.storage.checkpoints import read_current
from selftaught_assets.storage.stored import all_stale
from selftaught_assets.storage.tables import read_provenance, table_version, write_table
from selftaught_assets_tests.assets.loop import Loop, copy_of, open_loop
from selftaught_assets_tests.assets.trained import TRAINED
from selftaught_assets_tests.conftest import write_small_recipe

FIRST, SECOND = "iteration_01", "iteration_02"


@pytest.fixture(scope="module")
def loop(two_iterations: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Two finished iterations."""
    with copy_of(two_iterations, tmp_path_factory.mktemp("up_to_date")) as copied:
        yield copied


def why(loop: Loop, iteration: str = FIRST, recipe: Recipe | None = None) -> str | None:
    return why_to_run(loop.instance, Family(recipe or loop.recipe, loop.layout), iteration)


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
    assert why(loop, recipe=recipe) == "the recipe changed for filtered_set (`filter`)"


def test_a_moved_copy_with_other_times_under_another_version_of_the_package(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selftaught_assets.assets.io_manager.__version__", "99.0")
    shutil.copytree(loop.layout.root, tmp_path / "data", copy_function=shutil.copyfile)
    shutil.copytree(loop.instance.root_directory, tmp_path / "home")
    recipe = load_recipe(str(write_small_recipe(tmp_path, **TRAINED)))
    with open_loop(recipe, tmp_path) as moved:
        assert (why(moved, FIRST), why(moved, SECOND)) == (None, None)
        assert not any(all_stale(recipe, moved.layout).values())
        graph = moved.definitions.resolve_asset_graph()
        for name in ITERATION:
            made = newest_materialization(moved.instance, moved.key(name), SECOND)
            assert made.tags["dagster/code_version"] == graph.get(moved.key(name)).code_version


def test_code_that_changed_makes_its_stage_and_what_follows_stale(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    raised = STAGES["judgments"]._replace(code=7)
    monkeypatch.setattr(staleness, "STAGES", {**STAGES, "judgments": raised})
    assert why(loop) == "the code of judgments changed (version 1, now 7)"
    found = [(one.stage, one.iteration) for stages in all_stale(loop.recipe, loop.layout).values() for one in stages]
    follow = [("judgments", FIRST), ("filtered_set", FIRST), ("checkpoint", FIRST), ("evaluation", FIRST)]
    assert found == [*follow, ("judge", SECOND), *((stage, SECOND) for stage, _ in follow)]
    pair = loop.table("judgments", FIRST)["pair_id"][0]
    (problem, *_) = trace(loop.layout, loop.recipe, pair)["problems"]
    assert problem == f"`judgments` of {FIRST} is stale: the code of judgments changed (version 1, now 7)."


def test_tables_of_a_release_that_counted_versions_otherwise_are_made_again_without_sampling(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_this_release(frame: pl.DataFrame) -> str:
        return f"new {table_version(frame)}"

    monkeypatch.setattr("selftaught_assets.assets.family.table_version", of_this_release)
    monkeypatch.setattr("selftaught_assets.commands.running.table_version", of_this_release)
    with copy_of(loop, tmp_path) as kept:
        before = kept.table("judgments", FIRST)
        assert why(kept) == "the files of instructions are not those that were made"
        kept.run("iteration", FIRST, ["instructions", "pairs", "judgments"])
        made = kept.metadata("judgments", FIRST)
        assert (made["completions_sampled"], made["completions"] > 0) == (0, True)
        assert kept.table("judgments", FIRST).equals(before)
        assert kept.version("judgments", FIRST).startswith("new ")


def test_an_input_that_is_rewritten_while_it_is_read(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step has used the old rows, so its table is stale, though the new ones were there when it ended."""
    load = TableIOManager.load_from_path

    def load_and_rewrite(self: TableIOManager, context: dg.InputContext, path: Path) -> pl.DataFrame:
        frame = load(self, context, path)
        if Path(path) == judgments:
            provenance = read_provenance(judgments).model_copy(update={"data_version": "another"})
            write_table(judgments, frame, provenance)
        return frame

    with _put_back(loop.layout.table("judgments", FIRST)) as judgments:
        monkeypatch.setattr(TableIOManager, "load_from_path", load_and_rewrite)
        loop.run("iteration", FIRST, ["filtered_set"])
        assert all_stale(loop.recipe, loop.layout)[FIRST][0].reason == (
            "judgments changed after filtered_set was made of it"
        )
    assert not any(all_stale(loop.recipe, loop.layout).values())


def test_a_pool_that_was_made_anew(loop: Loop) -> None:
    with _put_back(loop.layout.table("instruction_pool")) as path:
        provenance = read_provenance(path).model_copy(update={"data_version": "another"})
        write_table(path, pl.read_parquet(path), provenance)
        assert why(loop) == "instruction_pool changed after instructions was made of it"


def test_a_predecessor_that_was_trained_anew(loop: Loop) -> None:
    with _put_back(loop.layout.current_checkpoint(FIRST)) as path:
        path.write_text(read_current(path).model_copy(update={"digest": "another"}).model_dump_json())
        assert why(loop, SECOND) == "checkpoint changed after judge was made of it"
    assert why(loop, SECOND) is None


def test_what_somebody_reported_in_the_ui_changes_nothing(loop: Loop) -> None:
    """ "Report materialization" logs an event without tags, as this does."""
    for name in ("pairs", "judge", "checkpoint"):
        loop.instance.report_runless_asset_event(dg.AssetMaterialization(loop.key(name), partition=FIRST))
    assert why(loop) is None
    loop.run("iteration", FIRST, ["filtered_set"])
    assert why(loop) is None


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
        loop.report_failed_check(asset, name, FIRST, severity)
        assert why(loop) == reason


def test_a_check_that_is_older_than_its_asset_though_the_clock_was_set_back(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between an asset and its checks, a day before both were made."""
    with copy_of(loop, tmp_path) as copied:
        again = newest_materialization(copied.instance, copied.key("pairs"), FIRST)
        yesterday = time.time() - 86_400
        monkeypatch.setattr("dagster._core.instance.methods.event_methods.get_current_timestamp", lambda: yesterday)
        copied.instance.report_runless_asset_event(again)
        assert why(copied) == "the check pair_validity of pairs was not made since pairs was"


@contextmanager
def _put_back(path: Path) -> Iterator[Path]:
    content = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(content)
