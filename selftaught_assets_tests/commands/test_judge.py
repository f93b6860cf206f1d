"""`selftaught judge` as a user runs it: as a process where that matters, else in this one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.judge import Judge
from selftaught_assets_tests.command_line import SELFTAUGHT, Done, selftaught
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.engines.scripted_server import ScriptedServer, saying, serving
from selftaught_assets_tests.judge.conftest import Workplace

FLUSHING_AT_ONCE = (
    "from selftaught_assets.engines import journalled; journalled.FLUSH_SECONDS = 0.0; "
    "from selftaught_assets.cli import main; main()"
)

Run = Callable[..., Done]


@pytest.fixture
def run(workplace: Workplace, tmp_path: Path) -> Run:
    """Runs `selftaught judge` in the test's folder, with the trained judge of the workplace."""

    def judge(*arguments: str, data: Path = workplace.data) -> Done:
        arguments = ("judge", *arguments, "--recipe", str(workplace.recipe_path))
        return selftaught(*arguments, folder=tmp_path, SELFTAUGHT_DATA=str(data))

    return judge


def _lines(count: int) -> list[str]:
    return (ROOT / "recipes" / "tinyworld" / "benchmark.jsonl").read_text(encoding="utf-8").split("\n")[:count]


@pytest.mark.slow
def test_every_pair_gets_the_verdict_that_python_gives(run: Run, trained_judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n".join(_lines(8)))
    done = run("pairs.jsonl", "-o", "out.jsonl", "--votes", "5", "--both-orders", "--judgments")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("8 of 8 pairs judged by iteration_03")
    assert done.stderr.count("\n") == 1
    for source, line in zip(_lines(8), (tmp_path / "out.jsonl").read_text().splitlines(), strict=True):
        pair, judged = json.loads(source), json.loads(line)
        found = trained_judge.compare(
            pair["instruction"], pair["response_a"], pair["response_b"], votes=5, both_orders=True
        )
        assert judged == pair | {
            **found._asdict(),
            "judgments": [judgment._asdict() for judgment in found.judgments],
            "error": None,
        }


@pytest.mark.slow
def test_a_bad_line_is_reported_by_number_and_the_rest_is_judged(workplace: Workplace, tmp_path: Path) -> None:
    """As a process, between pipes."""
    good, other, *_ = _lines(2)
    empty = json.dumps(json.loads(good) | {"response_b": ""})
    long = json.dumps(json.loads(good) | {"response_b": "27 " * 3000})
    done = subprocess.run(
        [*SELFTAUGHT, "judge", "-", "-o", "-", "--votes", "1", "--recipe", str(workplace.recipe_path)],
        env=os.environ | {"SELFTAUGHT_DATA": str(workplace.data)},
        input=f"{good}\n{{no\n{empty}\n{long}\n{other}\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, False, False, True]
    assert [row["verdict"] in ("A", "B", "INVALID") for row in rows] == [True, False, False, False, True]
    second, third, fourth, last = done.stderr.splitlines()
    assert second.startswith("-, line 2: not valid JSON")
    assert third == "-, line 3: response_b is empty"
    assert fourth.startswith("-, line 4: The texts are too long for the judge")
    assert last.startswith("2 of 5 pairs judged by iteration_03")
    assert last.endswith("; 3 failed, see `error`")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pairs.jsonl", "-o", "out.txt"), "out.txt must end in .jsonl, .parquet or .csv, or be - (JSONL)."),
        (("pairs.jsonl", "-o", "pairs.jsonl"), "pairs.jsonl is the input file"),
        (("pairs.jsonl", "-o", "gone/out.jsonl"), "The folder of gone/out.jsonl does not exist"),
        (("gone.jsonl", "-o", "out.jsonl"), "gone.jsonl cannot be read"),
        (("pairs.jsonl", "-o", "out.jsonl", "--judge", "iteration_02"), "Recipe small has no finished checkpoint"),
        (("pairs.jsonl", "-o", "out.jsonl", "--engine", "abacus"), "The engine 'abacus': Input tag 'abacus' found"),
        (("pairs.jsonl", "-o", "out.jsonl", "--engine", "{name: vllm"), "The engine '{name: vllm' is not valid YAML"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(run: Run, tmp_path, arguments, sentence) -> None:
    (tmp_path / "pairs.jsonl").write_text(_lines(1)[0])
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {sentence}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.slow
def test_another_engine_can_judge(run: Run, workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n".join(_lines(4)))
    with serving(ScriptedServer(saying("The first. [[A]]"))) as server:
        engine = f"{{name: openai, address: {server.address}, model: seed, identity: seed-v1}}"
        arguments = ("pairs.jsonl", "-o", "out.jsonl", "--votes", "3", "--judge", "seed", "--engine", engine)
        done = run(*arguments, data=tmp_path / "data")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    judged = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in judged] == ["A"] * 4
    assert {asked.body["model"] for asked in server.completions()} == {"seed"}


@pytest.mark.slow
def test_after_a_kill_only_what_is_missing_is_sampled_and_the_verdicts_are_those_of_an_undisturbed_run(
    run: Run, workplace: Workplace, tmp_path: Path
) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n".join(_lines(60)))
    arguments = ("pairs.jsonl", "--votes", "12", "--judge", str(workplace.checkpoint))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(*arguments, "-o", "whole.jsonl", data=whole).returncode == 0

    command = [sys.executable, "-c", FLUSHING_AT_ONCE, "judge", *arguments, "-o", "out.jsonl"]
    victim = subprocess.Popen(
        [*command, "--recipe", str(workplace.recipe_path)],
        cwd=tmp_path,
        env=os.environ | {"SELFTAUGHT_DATA": str(killed)},
    )
    try:
        deadline = time.monotonic() + 600
        while not _sampled(killed):
            assert time.monotonic() < deadline
            assert victim.poll() is None, "the process ended before it was killed"
            time.sleep(0.01)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    assert not (tmp_path / "out.jsonl").exists()
    kept = {path.name for path in _shards(killed)}
    assert 0 < _sampled(killed) < _sampled(whole)
    assert run(*arguments, "-o", "out.jsonl", data=killed).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert kept <= {path.name for path in _shards(killed)}
    assert _sampled(killed) == _sampled(whole)


def _shards(data: Path) -> list[Path]:
    return [path for path in (data / "small" / "journal" / "evaluation").glob("*.parquet") if path.name[0] != "."]


def _sampled(data: Path) -> int:
    """Completions on disk, each counted as often as it was sampled."""
    return sum(pl.read_parquet(path).height for path in _shards(data))


def test_where_there_is_no_terminal_progress_is_plain_lines(monkeypatch, capsys) -> None:
    from rich.console import Console

    from selftaught_assets.commands import judge
    from selftaught_assets.judge.answers import VotingProgress

    monkeypatch.setattr(judge, "PLAIN_LINE_SECONDS", 0.0)
    with judge.shown_progress(Console(stderr=True)) as show:
        show(VotingProgress(settled=1024, questions=2000, judgments=17408, tokens_per_second=3210.4))
    said = capsys.readouterr().err
    assert said == "judging: 1,024 of 2,000 pairs, 17,408 judgments, 3,210 tokens/s\n"
