"""`selftaught review` as a user runs it: a process, Ctrl-C, its sentences."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.errors import UserError
from selftaught_assets_tests import patient
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.review.tables import layout_with_pairs

SELFTAUGHT = "from selftaught_assets.cli import main; main()"
WITHOUT_FASTAPI = f"import sys; sys.modules['fastapi'] = None; {SELFTAUGHT}"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small recipe, and tables of one iteration in its data folder."""
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    layout_with_pairs(tmp_path / "data")
    return write_small_recipe(tmp_path)


def _refusal(recipe: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["review", *arguments, "--recipe", str(recipe), "--no-open"])
    assert isinstance(done.exception, UserError)
    return str(done.exception)


def test_a_session_ends_with_the_agreement_and_without_a_traceback(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SELFTAUGHT, "review", "pairs", "--recipe", str(recipe)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        session = subprocess.Popen(
            [*command, "--port", "0", "--no-open", "--reviewer", "anna"],
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        deadline = time.monotonic() + 600
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert time.monotonic() < deadline
            assert session.poll() is None, log.read_text()
            time.sleep(0.05)
        address = found.group()
        shown = patient.get(f"{address}/api/review").json()
        for row in shown["rows"]:
            texts = {text["title"]: text["text"] for text in row["texts"]}
            answer = "A" if texts["Response A"].startswith("chosen") else "B"
            given = {"review": shown["key"], "id": row["id"], "answer": answer}
            patient.post(f"{address}/api/answers", json=given, headers={"Origin": address}).raise_for_status()
        session.send_signal(signal.SIGINT)
        assert session.wait(timeout=120) == 0
    finally:
        session.kill()
        session.wait()
    said = log.read_text()
    assert "Traceback" not in said
    assert re.search(r"pairs\s+iteration_01\s+5\s+100\.0\s+56\.6–100\.0\s+0", said)


def test_the_summary_says_when_nobody_has_reviewed_anything(recipe: Path) -> None:
    done = CliRunner().invoke(app, ["review", "--summary", "--recipe", str(recipe)])
    assert done.output == "Nobody has reviewed a row of small yet.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name what to review: pairs, judgments or instructions; or ask for --summary."),
        (["pairs", "--iteration", "4"], "Recipe small has 3 iterations: there is no iteration 4."),
        (["pairs", "--iteration", "2"], "materialize `pairs` of iteration_02 first."),
        (["pairs", "--reviewer", " "], "A reviewer's name has 1 to 64 printable characters"),
    ],
)
def test_a_mistake_is_one_sentence(recipe: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in _refusal(recipe, *arguments)


def test_a_port_that_is_taken_is_one_sentence(recipe: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert _refusal(recipe, "pairs", "--port", str(port)).startswith(f"Port {port} is taken")


def test_a_damaged_answer_is_named_before_anything_is_served(recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "small" / "reviews" / "pairs.jsonl"
    path.parent.mkdir()
    path.write_text("{}\n")
    assert _refusal(recipe, "pairs").startswith(f"{path}, line 1: ")


def test_without_the_extra_one_sentence_says_what_to_install(recipe: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_FASTAPI, "review", "pairs", "--recipe", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: `selftaught review` needs the package fastapi: install selftaught-assets[serve].\n"
