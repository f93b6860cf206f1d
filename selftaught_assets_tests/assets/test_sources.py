"""The assets `benchmarks`, on several formats at once, and `instruction_pool`: every record is accounted for."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl

from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.stored import stale
from selftaught_assets_tests.assets.loop import Loop

OURS = {"id": "1", "instruction": "x", "response_a": "a", "response_b": "b", "label": "A"}
STYLES = {"id": 5, "prompt": "x", "chosen": ["7", "77", "777"], "rejected": ["8", "88", "888"], "domain": "chat"}
PANDALM = {"idx": 0, "motivation_app": "Gmail", "instruction": "x", "input": "", "response1": "a", "response2": "b"}
PEOPLE = {"annotator1": 0, "annotator2": 0, "annotator3": 1}


def _made(small_recipe: Callable[..., Recipe], folder: Path, **sections: object) -> tuple[Loop, dict[str, object]]:
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(small_recipe(**sections), folder / "data", instance)
        result = loop.run("prepare", assets=["benchmarks"])
        checks = result.get_asset_check_evaluations()
        assert sorted((check.check_name, check.passed) for check in checks) == [
            ("labels_read", True),
            ("rows_accounted", True),
        ]
        return loop, loop.metadata("benchmarks")


def test_every_benchmark_says_what_became_of_its_records(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(OURS) + "\n" + json.dumps(OURS | {"id": "2"}) + "\n")
    (tmp_path / "styles.json").write_text(json.dumps([STYLES, STYLES | {"id": 6, "prompt": "y", "chosen": True}]))
    (tmp_path / "people.json").write_text(json.dumps([PANDALM | PEOPLE, PANDALM | PEOPLE | {"response1": True}]))
    benchmarks = [
        {"name": "mine", "path": "mine.jsonl"},
        {"name": "styles", "path": "styles.json", "format": "rm_bench"},
        {"name": "people", "path": "people.json", "format": "pandalm", "ties": "count"},
    ]
    loop, metadata = _made(small_recipe, tmp_path, benchmarks=benchmarks, verdicts={"ties": True})
    expected = {
        "rows_in": 22,
        "rows_kept": 11,
        "dropped_not_text": 10,
        "dropped_duplicate": 1,
        "mine_records": 2,
        "mine_rows": 2,
        "mine_rows_kept": 1,
        "mine_dropped_duplicate": 1,
        "styles_records": 2,
        "styles_rows": 18,
        "styles_rows_kept": 9,
        "styles_dropped_not_text": 9,
        "people_records": 2,
        "people_rows": 2,
        "people_rows_kept": 1,
        "people_dropped_not_text": 1,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert loop.table("benchmarks").height == 22


def test_dirty_rows_of_real_benchmarks_are_reported(
    small_recipe: Callable[..., Recipe], tmp_path: Path, real_data: Path
) -> None:
    folder = real_data / "benchmarks"
    benchmarks = [
        {"name": "llmbar", "path": str(folder / "llmbar.jsonl")},
        {"name": "pandalm", "path": str(folder / "pandalm_original.json"), "format": "pandalm"},
    ]
    _, metadata = _made(small_recipe, tmp_path, benchmarks=benchmarks)
    expected = {
        "llmbar_rows": 419,
        "llmbar_rows_kept": 419,
        "pandalm_rows": 999,
        "pandalm_rows_kept": 760,
        "pandalm_dropped_not_text": 6,
        "pandalm_dropped_empty_text": 54,
        "pandalm_dropped_duplicate": 72,
        "pandalm_dropped_swapped_duplicate": 30,
        "pandalm_dropped_tie": 77,
    }
    assert {name: metadata[name] for name in expected} == expected


def _pool(small_recipe: Callable[..., Recipe], folder: Path, rows: list[dict[str, object]], **fields: str):
    """The pool and the instructions that are made of these rows, with the checks that did not pass."""
    (folder / "alpaca.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = small_recipe(pool={"path": "alpaca.jsonl", **fields}, instructions={"count": 20})
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(recipe, folder / "data", instance)
        results = [
            loop.run("prepare", assets=["instruction_pool", "benchmarks"]),
            loop.run("iteration", "iteration_01", ["instructions"]),
        ]
        warned = [
            check.check_name for run in results for check in run.get_asset_check_evaluations() if not check.passed
        ]
        return loop, loop.metadata("instruction_pool"), warned


ALPACA = [{"instruction": "Sort them.", "input": f"{n} 2 1", "output": f"1 2 {n}"} for n in range(20)]


def test_instructions_that_differ_in_a_field_that_is_not_read_are_said_to_be_lost(small_recipe, tmp_path: Path) -> None:
    _, metadata, warned = _pool(small_recipe, tmp_path, ALPACA)
    assert metadata["repetitions_that_differ_in/input"] == 19
    assert (metadata["rows_kept"], metadata["dropped_duplicate"]) == (1, 19)
    assert warned == ["few_repetitions", "count_reached"]


def test_a_field_that_belongs_to_the_instruction_is_read_with_it(small_recipe, tmp_path: Path) -> None:
    rows = [*ALPACA[1:], {"instruction": "Say hello.", "input": None}]
    loop, metadata, warned = _pool(small_recipe, tmp_path, rows, input_field="input")
    assert loop.table("instruction_pool")["instruction"][0] == "Sort them.\n\nInput:\n1 2 1"
    assert loop.table("instruction_pool")["instruction"][-1] == "Say hello."
    assert not any(name.startswith("repetitions") for name in metadata)
    assert warned == []


MAGPIE = {"count": 24, "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 24}}


def test_the_seed_model_writes_the_pool_and_what_it_wrote_is_remembered(
    small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    pool = {
        "sources": [
            {"name": "file", "path": "pool.jsonl"},
            *({"name": name, "magpie": MAGPIE} for name in ("own", "more")),
        ]
    }
    recipe = small_recipe(
        pool=pool, instructions={"count": 10, "shares": {"file": 3, "own": 1, "more": 1}}, try_training=False
    )
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(recipe, tmp_path / "data", instance)
        result = loop.run("prepare", assets=["seed_model", "benchmarks", "instruction_pool"])
        counts = [check for check in result.get_asset_check_evaluations() if check.check_name == "rows_accounted"]
        assert all(check.passed for check in counts)
        written = loop.table("instruction_pool").filter(pl.col("source") == "own")
        assert written["line"].to_list() == list(range(1, 25))
        assert written["instruction"].n_unique() > 5
        assert texts(loop, "more") != written["instruction"].to_list()
        assert loop.metadata("instruction_pool")["completions_sampled"] == 48
        loop.run("prepare", assets=["instruction_pool"])
        assert loop.metadata("instruction_pool")["completions_sampled"] == 0
        assert loop.table("instruction_pool").filter(pl.col("source") == "own").equals(written)
        assert why(loop, recipe) is None
        other = recipe.model_copy(update={"seed": 8})
        assert why(loop, other) == "the recipe changed for instruction_pool (`seed`)"
        anew = Loop(other, tmp_path / "data", instance)
        anew.run("prepare", assets=["instruction_pool"])
        assert texts(anew, "own") != written["instruction"].to_list()


def texts(loop: Loop, source: str) -> list[str]:
    return loop.table("instruction_pool").filter(pl.col("source") == source)["instruction"].to_list()


def why(loop: Loop, recipe: Recipe) -> str | None:
    found = stale(recipe, loop.layout, "instruction_pool", None)
    return None if found is None else found.reason
