"""A recipe whose journal lies elsewhere: the tables are the same, and what one machine sampled another one finds."""

from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.conftest import write_small_recipe


def run(folder: Path, machine: str, **overrides: object) -> Loop:
    """Judges a few pairs with a data folder of its own."""
    recipe = load_recipe(str(write_small_recipe(folder, instructions={"count": 8}, **overrides)))
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(recipe, folder / machine, instance)
        loop.run("prepare", assets=["instruction_pool", "seed_model"])
        loop.run("iteration", "iteration_01", ["instructions", "pairs", "judge", "judgments"])
        sampled = [loop.metadata(name, "iteration_01")["completions_sampled"] for name in ("pairs", "judgments")]
    (folder / machine / "sampled").write_text(str(sampled))
    return loop


@pytest.mark.slow
def test_machines_that_share_no_disk_share_a_journal_in_an_object_store(tmp_path: Path, bucket: UPath) -> None:
    local = run(tmp_path, "local")
    first, second = (run(tmp_path, machine, journal=str(bucket)) for machine in ("first", "second"))
    expected = local.table("judgments", "iteration_01")
    for loop in (first, second):
        assert loop.table("judgments", "iteration_01").equals(expected)
        assert not (loop.layout.folder / "journal").exists()
    assert (tmp_path / "first" / "sampled").read_text() == (tmp_path / "local" / "sampled").read_text()
    assert (tmp_path / "second" / "sampled").read_text() == "[0, 0]"
    assert sorted(stage.name for stage in bucket.iterdir()) == ["judgments", "pairs"]
