"""`selftaught journal` as a user runs it: once as a process, else in this one."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from selftaught_assets.storage.journal import Journal
from selftaught_assets_tests.command_line import SELFTAUGHT, Done, selftaught
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.storage.rows import completions, found

Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `selftaught journal` on the small recipe, in a terminal of 80 columns."""

    def journal(*arguments: str, **overrides: object) -> Done:
        arguments = ("journal", *arguments, "--recipe", str(write_small_recipe(tmp_path, **overrides)))
        return selftaught(*arguments, folder=tmp_path, SELFTAUGHT_DATA=str(tmp_path / "data"), COLUMNS="80")

    return journal


def fill(place: Path | UPath) -> None:
    """Two stages: 4 completions in 3 shards with one repeated and one failed sample of each, and a single shard."""
    for rows in (completions("a"), completions("a", "b"), completions("c", error="no")):
        Journal(place / "judgments").append(rows)
    Journal(place / "pairs").append(completions("p", samples=1))


def test_stats_count_what_each_stage_holds(tmp_path: Path) -> None:
    """As a process."""
    place = tmp_path / "data" / "small" / "journal"
    fill(place)
    (place / "pairs" / "notes.parquet").write_text("not a shard")
    recipe = str(write_small_recipe(tmp_path))
    command = [*SELFTAUGHT, "journal", "stats", "--json", "--recipe", recipe]
    done = subprocess.run(
        command, env=os.environ | {"SELFTAUGHT_DATA": str(tmp_path / "data")}, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "notes.parquet is damaged" in done.stderr
    said = json.loads(done.stdout)
    assert said["journal"] == str(place)
    sizes = {stage: counted.pop("bytes") for stage, counted in said["stages"].items()}
    assert sizes["judgments"] > sizes["pairs"] > 0
    figures = ("shards", "completions", "failed", "repeated", "prompts", "prompt_tokens", "completion_tokens")
    assert said["stages"] == {
        "judgments": dict(zip(figures, (3, 4, 2, 2, 3, 12, 16), strict=True)) | {"set_aside": 0},
        "pairs": dict(zip(figures, (1, 1, 0, 0, 1, 3, 4), strict=True)) | {"set_aside": 1},
    }


def test_compact_merges_each_stage_and_says_what_it_did(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "data" / "small" / "journal"
    fill(place)
    done = json.loads(run("compact", "--json").stdout)["stages"]
    assert [done["judgments"][name] for name in ("shards_before", "shards_after", "dropped")] == [3, 1, 2]
    assert [done["pairs"][name] for name in ("shards_before", "shards_after", "dropped")] == [1, 1, 0]
    assert found(Journal(place / "judgments"), "a", "b", "c").equals(completions("a", "b"))


@pytest.mark.parametrize("command", ["stats", "compact"])
def test_tables_fit_a_terminal_of_80_columns(command: str, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "data" / "small" / "journal"
    fill(place)
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("Journal ")]
    assert f"Journal {place}" in done.stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert [line.split()[0] for line in lines[-2:]] == ["judgments", "pairs"]


def test_a_journal_elsewhere_is_found_through_the_recipe(run: Run, bucket: UPath) -> None:
    fill(bucket)
    said = json.loads(run("compact", "--json", journal=str(bucket)).stdout)
    assert said["journal"] == str(bucket)
    assert said["stages"]["judgments"]["shards_after"] == 1
    assert json.loads(run("stats", "--json", journal=str(bucket)).stdout)["stages"]["judgments"]["completions"] == 4


def test_an_empty_journal_is_one_sentence(run: Run, tmp_path: Path) -> None:
    done = run("stats")
    assert (done.returncode, done.stdout) == (1, "")
    place = tmp_path / "data" / "small" / "journal"
    assert done.stderr == f"Error: The journal {place} is empty: nothing has been sampled for this recipe yet.\n"


def test_a_bucket_that_is_not_there_is_one_sentence(run: Run, object_store: str) -> None:
    done = run("stats", journal="s3://nowhere-at-all/prefix")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The journal s3://nowhere-at-all/prefix cannot be used")
    assert done.stderr.count("\n") == 1
