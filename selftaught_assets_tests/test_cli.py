import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.cli import app
from selftaught_assets.commands.running import why_it_failed
from selftaught_assets.component import EXECUTOR
from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_table
from selftaught_assets.version import __version__
from selftaught_assets_tests.assets.loop import Loop, copy_of
from selftaught_assets_tests.assets.trained import TRAINED
from selftaught_assets_tests.command_line import Done, selftaught
from selftaught_assets_tests.conftest import SMALL, write_small_recipe
from selftaught_assets_tests.forks import Begun, begun_command
from selftaught_assets_tests.wheel import DATA, Installed, Ran, run_here, started

ROW_KEYS = {
    "judge",
    "digest",
    "n",
    "accuracy",
    "interval",
    "position_consistent",
    "vote_accuracy",
    "invalid",
    "p_vs_seed",
    "pairs",
    "kept",
    "seconds",
}
UNTRAINED = TRAINED | {"training": SMALL["training"] | {"learning_rate": 1e-12}}
SAMPLING = ("pairs", "judgments", "evaluation", "seed_evaluation")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small recipe, and with the Dagster instance and the data of this test alone."""
    write_small_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    return tmp_path


def _fails(folder: Path, *arguments: str) -> str:
    """What the command line says on standard error when it ends with status 1, and nothing on standard output."""
    refused = selftaught(*arguments, folder=folder)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1
    return refused.stderr.removeprefix("Error: ").rstrip("\n")


def test_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"selftaught {__version__}\n"


def test_help_says_what_each_command_does() -> None:
    said = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for sentence in (
        "Materialize a recipe through Dagster",
        "Print how accurate the seed",
        "Print whether judge B",
        "Print where a row comes from",
        "Print what differs between two iterations",
        "Train the demo",
    ):
        assert sentence in said


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", ["--recipe", "--iterations"]),
        ("results", ["--recipe", "--benchmark", "--json"]),
        ("report", ["--recipe", "--open", "--output"]),
        ("compare", ["--recipe", "--benchmark", "--json", "--items"]),
        ("trace", ["--down", "--iteration", "--recipe", "--full", "--json"]),
        ("diff", ["--recipe", "--benchmark", "--json"]),
        ("seed", ["--output", "--steps"]),
        ("promote", ["--reason", "--recipe"]),
        ("review", ["--iteration", "--seed", "--reviewer", "--no-open", "--summary"]),
    ],
)
def test_help_of_a_command_names_its_options(command: str, options: list[str]) -> None:
    said = CliRunner().invoke(app, [command, "--help"]).output
    assert all(option in said for option in options)


def test_command_is_required() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2


@pytest.mark.parametrize("command", ["run", "results"])
def test_unknown_recipe_is_one_sentence(elsewhere: Path, command: str) -> None:
    said = _fails(elsewhere, command, "--recipe", "nothing")
    assert said.startswith("There is no recipe 'nothing'")


def test_names_that_look_like_markup_are_printed_as_they_are(elsewhere: Path) -> None:
    assert "'[bold]/[/x].yaml'" in _fails(elsewhere, "run", "--recipe", "[bold]/[/x].yaml")


def test_more_iterations_than_the_recipe_has_are_refused(elsewhere: Path) -> None:
    said = _fails(elsewhere, "run", "--recipe", "small.yaml", "--iterations", "4")
    assert said == "Recipe small has 3 iterations; raise `iterations` in it to run 4."


def test_no_iterations_are_refused() -> None:
    refused = CliRunner().invoke(app, ["run", "--iterations", "0"])
    assert refused.exit_code == 2
    assert "--iterations" in refused.output


def test_report_before_the_first_run_is_one_sentence(elsewhere: Path) -> None:
    said = _fails(elsewhere, "report", "--recipe", "small.yaml")
    assert said == "Recipe small has nothing to report yet: run it first (selftaught run)."


def test_report_is_not_written_over_a_folder(elsewhere: Path) -> None:
    said = _fails(elsewhere, "report", "--recipe", "small.yaml", "--output", ".")
    assert said == f"{elsewhere} is a folder: name the file to write the report to."


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_results_before_the_first_run_are_one_sentence(elsewhere: Path, options: list[str]) -> None:
    said = _fails(elsewhere, "results", "--recipe", "small.yaml", *options)
    assert said == "Recipe small has no results yet: run it first (selftaught run)."


def test_unknown_benchmark_is_refused_with_the_known_ones(elsewhere: Path) -> None:
    said = _fails(elsewhere, "results", "--recipe", "small.yaml", "--benchmark", "other")
    assert said == "Recipe small has no benchmark 'other', only tiny."


@pytest.mark.parametrize(
    "command",
    [
        ("report", "--recipe", "small.yaml", "-o", "/proc/page.html"),
        ("judge", "benchmark.jsonl", "-o", "/proc/out.jsonl", "--judge", "seed", "--recipe", "small.yaml"),
        ("seed", "-o", "/proc/model"),
        ("export", "seed", "small.yaml/model", "--recipe", "small.yaml"),
        ("init", "/proc/project"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence_before_any_work(
    elsewhere: Path, command: tuple[str, ...]
) -> None:
    assert "cannot be written: " in _fails(elsewhere, *command)


def test_a_data_folder_that_cannot_be_written_is_one_sentence(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_DATA", "/proc/data")
    refused = selftaught("run", "--recipe", "small.yaml", folder=elsewhere)
    assert refused.stderr == "Error: /proc/data/small cannot be written: no such file or directory.\n"


def test_what_the_disk_refuses_is_one_sentence_in_any_command(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = elsewhere / "data" / "small" / "journal" / "pairs" / "old.parquet"
    shard.parent.mkdir(parents=True)

    def refuse(_: object) -> None:
        raise PermissionError(errno.EROFS, "", str(shard))

    monkeypatch.setattr("selftaught_assets.storage.journal.compact", refuse)
    assert _fails(elsewhere, "journal", "compact", "--recipe", "small.yaml") == (
        f"{shard} cannot be used: read-only file system; name another place, or correct its permissions."
    )


@pytest.mark.slow
def test_failed_step_ends_the_run_with_its_sentence(elsewhere: Path) -> None:
    (elsewhere / "benchmark.jsonl").write_text('{"id": 1}\n')
    done = run_here(elsewhere, "run", "--recipe", "small.yaml", "--iterations", "1")
    assert done.returncode == 1
    assert done.stderr == f"Error: {elsewhere}/benchmark.jsonl, line 1: the field 'instruction' is missing.\n"
    assert f"  ✗ benchmarks: {elsewhere}/benchmark.jsonl, line 1:" in done.stdout


@pytest.mark.slow
def test_a_signal_ends_a_run_with_one_sentence_and_what_was_sampled_is_kept(elsewhere: Path) -> None:
    slow = {"max_rows": 8, "device": "cpu"}
    write_small_recipe(elsewhere, engine=slow, evaluation=SMALL["evaluation"] | {"votes": 512})
    sampled = elsewhere / "data" / "small" / "journal" / "evaluation"
    with begun_command("run", "--recipe", "small.yaml", folder=elsewhere, environment=os.environ) as run:
        _wait_for(lambda: list(sampled.glob("[!.]*.parquet")), run)
        run.signal(signal.SIGTERM)
        stopped = run.ended()
    assert stopped.stderr == "Stopped; what was sampled is kept: the same command goes on.\n"
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "seed_evaluation" not in stopped.stdout
    with dg.DagsterInstance.from_config(str(elsewhere / "home")) as instance:
        assert [run.is_finished for run in instance.get_runs()] == [True]


def job_that_is_killed() -> dg.JobDefinition:
    """A run of one step, whose process ends as if memory had run out."""

    @dg.asset
    def judgments() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    job = dg.define_asset_job("job", [judgments], executor_def=EXECUTOR)
    return dg.Definitions([judgments], jobs=[job]).resolve_job_def("job")


@pytest.mark.slow
def test_a_killed_step_is_said_to_have_run_out_of_memory(tmp_path: Path) -> None:
    job = dg.build_reconstructable_job(__name__, "job_that_is_killed", reconstructable_args=())
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        ended = dg.execute_job(job, instance)
        assert why_it_failed(instance, ended.run_id) == (
            "The process of `judgments` was killed, most often because memory ran out. What was sampled is kept: free "
            "memory, or lower `max_rows` or `max_tokens` in the recipe, and run it again."
        )


@pytest.mark.slow
def test_ctrl_c_ends_judging_with_one_sentence_and_what_was_sampled_is_kept(elsewhere: Path) -> None:
    (elsewhere / "pairs.jsonl").write_text((elsewhere / "benchmark.jsonl").read_text() * 50)
    command = ("judge", "pairs.jsonl", "-o", "out.jsonl", "--judge", "seed", "--recipe", "small.yaml")
    sampled = elsewhere / "data" / "small" / "journal"
    with begun_command(*command, folder=elsewhere, environment=os.environ) as judge:
        _wait_for(lambda: list(sampled.rglob("*.parquet")), judge)
        judge.signal(signal.SIGINT)
        stopped = judge.ended()
    assert stopped.stderr.endswith("Stopped; what was sampled is kept: the same command goes on.\n")
    assert "Traceback" not in stopped.stderr
    assert stopped.returncode == 128 + signal.SIGINT
    assert not (elsewhere / "out.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("works", "command"),
    [
        ("selftaught_assets.tinyworld.train_seed.train_seed", ("seed", "-o", "new")),
        ("selftaught_assets.assets.report.write_report", ("report", "--recipe", "small.yaml")),
        ("selftaught_assets.judge.export.export_judge", ("export", "seed", "new", "--recipe", "small.yaml")),
        ("selftaught_assets.review.rows.read_rows", ("review", "pairs", "--recipe", "small.yaml")),
        ("selftaught_assets.judge.Judge.load", ("serve", "--judge", "seed", "--recipe", "small.yaml")),
    ],
)
def test_a_signal_ends_any_command_with_one_sentence(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, works: str, command: tuple[str, ...], number: int
) -> None:
    monkeypatch.setattr(works, lambda *_, **__: signal.raise_signal(number))
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stopped = selftaught(*command, folder=elsewhere)
    assert stopped.stderr == "Stopped; nothing is half-written: run the same command again.\n"
    assert stopped.returncode == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def _wait_for(sign: Callable[[], object], begun: Begun) -> None:
    deadline = time.monotonic() + 600
    while not sign():
        assert time.monotonic() < deadline
        assert begun.process.is_alive(), begun.ended()
        time.sleep(0.02)


def test_seed_writes_a_model_that_loads(elsewhere: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = elsewhere / "seed"
    done = CliRunner().invoke(app, ["seed", "--steps", "2", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template


def test_seed_does_not_replace_a_folder_that_is_no_model(elsewhere: Path) -> None:
    folder = elsewhere / "papers"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    said = _fails(elsewhere, "seed", "--steps", "2", "-o", "papers")
    assert said.startswith("papers already exists and holds no model")
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_run_shows_plain_lines_and_the_table_where_there_is_no_terminal(ran: Ran) -> None:
    assert ran.first.returncode == 0, ran.first.stderr
    lines = ran.first.stdout.split("\n")
    assert not [character for line in lines for character in line if not character.isprintable()]
    assert [name for name in ("prepare", "iteration_01", "progress") if name in lines] == [
        "prepare",
        "iteration_01",
        "progress",
    ]
    for asset in (*SAMPLING, "checkpoint", "filtered_set"):
        assert len([line for line in lines if line.startswith(f"  ✓ {asset} ")]) == 1, asset
    assert [line for line in lines if line.split()[:1] == ["seed"]]
    assert "…" not in ran.first.stdout
    assert "selftaught ui --recipe small" in ran.first.stdout
    assert lines[-2] == "Read the report: selftaught report --open --recipe small"
    assert (ran.folder / DATA / "small" / "report" / "index.html").is_file()


@pytest.mark.slow
def test_run_says_nothing_of_telemetry_and_leaves_none(ran: Ran) -> None:
    assert ran.first.stderr == ""
    assert "telemetry" not in ran.first.stdout.lower()
    assert not list(ran.folder.rglob("*telemetry*"))


@pytest.mark.slow
def test_results_as_json_have_a_row_for_each_judge(ran: Ran, installed: Installed) -> None:
    done = started(installed, ran.folder, "results", "--recipe", "small", "--json")
    results = json.loads(done.stdout)
    assert (results["recipe"], results["benchmark"]) == ("small", "tiny")
    assert [row["judge"] for row in results["rows"]] == ["seed", "iteration_01"]
    for row in results["rows"]:
        assert row.keys() >= ROW_KEYS
        assert row["n"] == 24
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert list(row["vote_accuracy"]) == ["3"]
        assert len(row["digest"]) == 64
    seed, trained = results["rows"]
    assert seed["digest"] != trained["digest"]
    assert [seed[name] for name in ("p_vs_seed", "pairs", "kept", "seconds")] == [None] * 4
    assert 0 < trained["p_vs_seed"] <= 1
    assert 0 < trained["kept"] <= trained["pairs"] <= 40
    assert trained["seconds"] > 0
    assert list(trained["costs"]) == ["pairs", "judgments", "evaluation"]
    assert trained["costs"]["judgments"]["completions"] >= trained["pairs"]
    assert trained["costs"]["judgments"]["samples_per_kept"] >= 1
    assert list(seed["costs"]) == ["evaluation"]


@pytest.mark.slow
def test_evaluation_is_tested_against_the_seed_in_its_own_metadata(ran: Ran) -> None:
    with dg.DagsterInstance.from_config(str(ran.folder / "home")) as instance:
        made = newest_materialization(instance, dg.AssetKey(["small", "evaluation"]), "iteration_01").metadata
        seed = newest_materialization(instance, dg.AssetKey(["small", "seed_evaluation"]), None).metadata
    row = json.loads(run_here(ran.folder, "results", "--recipe", "small", "--json").stdout)["rows"][1]
    for name in ("accuracy", "p_vs_seed", "p_vs_seed_clustered", "p_vs_previous_clustered", "pooled_vote_accuracy"):
        assert made[name].value == row[name]
    assert made["accuracy_clustered_low"].value == row["interval_clustered"][0]
    assert [name for name in made if name.startswith("subset/")]
    assert not [name for name in seed if name.startswith("p_vs_")]


@pytest.mark.slow
def test_report_is_made_anew_and_opened(ran: Ran, monkeypatch) -> None:
    opener, opened = ran.folder / "opener", ran.folder / "opened"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > "{opened}"\n')
    opener.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(opener))
    done = run_here(ran.folder, "report", "--recipe", "small", "--open", "-o", "a page.html")
    page = ran.folder / "a page.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{page}\n", "")
    assert opened.read_text() == page.as_uri()
    text = page.read_text(encoding="utf-8")
    assert "Time and cost" in text and "checks not passed" in text and 'id="loss-iteration_01"' in text


@pytest.mark.slow
def test_held_out_synthetic_pairs_are_judged_in_both_orders_and_tell_the_overfit_gap(ran: Ran) -> None:
    layout = Layout(ran.folder / DATA, "small")
    table, examples = (read_table(layout.table(name, "iteration_01")) for name in ("evaluation", "filtered_set"))
    held_out = table.filter(pl.col("benchmark") == HELD_OUT)
    validation = examples.filter(pl.col("split") == "validation")["pair_id"].unique()
    assert held_out["item_id"].unique().sort().to_list() == validation.sort().to_list() != []
    assert held_out["decoding"].unique().to_list() == ["greedy"]
    assert held_out["order"].value_counts()["count"].to_list() == [len(validation)] * 2
    with dg.DagsterInstance.from_config(str(ran.folder / "home")) as instance:
        made = newest_materialization(instance, dg.AssetKey(["small", "evaluation"]), "iteration_01").metadata
    numbers = {name: entry.value for name, entry in made.items()}
    assert numbers["held_out_verdicts"] == held_out.height
    assert numbers["held_out_accuracy"] == held_out["score"].mean()
    assert numbers["overfit_gap"] == pytest.approx(numbers["held_out_accuracy"] - numbers["accuracy"])
    assert numbers["overfit_gap_low"] < numbers["overfit_gap"] < numbers["overfit_gap_high"]


@pytest.mark.slow
def test_tiny_data_raises_no_error_and_only_the_warning_that_it_is_tiny(ran: Ran) -> None:
    with dg.DagsterInstance.from_config(str(ran.folder / "home")) as instance:
        checks = [
            record.dagster_event.asset_check_evaluation_data
            for run in instance.get_runs()
            for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        ]
    assert {check.check_name for check in checks} >= {"usable_text", "is_predecessor", "weights", "overfit_gap"}
    broken = {(check.check_name, check.severity.value) for check in checks if not check.passed}
    assert broken == {("smallest_size", "WARN")}
    assert "! filtered_set smallest_size" in ran.first.stdout
    assert "✗" not in ran.first.stdout


@pytest.mark.slow
def test_compare_lays_the_trained_judge_beside_the_seed(ran: Ran) -> None:
    done = run_here(ran.folder, "compare", "seed", "iteration_01", "--recipe", "small", "--json")
    compared = json.loads(done.stdout)
    assert compared["items"] == 12
    assert compared["overall"]["gained"] - compared["overall"]["lost"] == round(24 * compared["overall"]["difference"])
    assert 0 < compared["overall"]["p_clustered"] <= 1


@pytest.mark.slow
def test_second_run_makes_and_samples_nothing_again_and_ends_with_the_same_results(ran: Ran) -> None:
    assert ran.second.returncode == 0, ran.second.stderr
    assert "iteration_01\n  ✓ up to date\nprogress\n" in ran.second.stdout
    with dg.DagsterInstance.from_config(str(ran.folder / "home")) as instance:
        assert len(instance.get_runs(dg.RunsFilter(job_name="small_iteration"))) == 1
        made = newest_materialization(instance, dg.AssetKey(["small", "seed_evaluation"]), None)
        assert made.metadata["completions_sampled"].value == 0
        assert made.metadata["completions"].value > 0
    assert _numbers(ran.second) == _numbers(ran.first) != []


@pytest.fixture(scope="module")
def ended(first_iteration: Loop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run that trains the first iteration again, learns nothing and may not go on without a gain, and its folder."""
    folder = tmp_path_factory.mktemp("ended")
    write_small_recipe(folder, **UNTRAINED, promotion={"stop_when_flat": 1, "validation": "tiny"})
    with copy_of(first_iteration, folder):
        (folder / "data").rename(folder / DATA)
    return folder, run_here(folder, "run", "--recipe", "small.yaml")


@pytest.mark.slow
def test_run_ends_where_no_judge_may_take_over(ended: tuple[Path, Done]) -> None:
    _, flat = ended
    assert (flat.returncode, flat.stderr) == (0, "")
    assert "The loop ends with iteration_01, after 1 iteration without a significant gain" in flat.stdout
    assert "This benchmark decided which judges to promote" in flat.stdout
    printed = {line.split()[0] for line in flat.stdout.split("\n") if line.startswith(("seed ", "iteration_"))}
    assert printed == {"seed", "iteration_01"}


@pytest.mark.slow
def test_run_whose_checkpoint_is_refused_fails(ended: tuple[Path, Done]) -> None:
    folder, _ = ended
    write_small_recipe(folder, **UNTRAINED, promotion={"rule": "better", "validation": "tiny"})
    refused = run_here(folder, "run", "--recipe", "small.yaml")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: `small/checkpoint` of iteration_01 was refused (promotion.rule: better)")
    assert refused.stderr.count("\n") == 1


def _numbers(run: Done) -> list[list[str]]:
    """The judges of the printed tables, with everything but the time that they took."""
    table = run.stdout.partition("small on the benchmark")[2]
    return [line.split()[:5] for line in table.split("\n") if line.split()[:1] in (["seed"], ["iteration_01"])]
