"""What README.md and the pages tell a reader to type works: each block is run, parsed or loaded."""

import json
import re
import subprocess
import sys
import tomllib
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from selftaught_assets.cli import app
from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.assets.loop import Loop, copy_of
from selftaught_assets_tests.assets.trained import SECOND, TRAINED
from selftaught_assets_tests.command_line import selftaught
from selftaught_assets_tests.conftest import ROOT, SMALL, write_small_recipe
from selftaught_assets_tests.docs.blocks import BLOCKS, LANGUAGES, PAGES, Block, Command, blocks_of, commands, of

USAGE_ERROR = typer.BadParameter.__base__
"""Of the click that typer brings along."""
STALE = (AssertionError, AttributeError, ValueError, subprocess.CalledProcessError, USAGE_ERROR, click.UsageError)
SHELL = of("sh")
SCRIPTS = {block.text: block for block in of("python")}
PAIR = {"instruction": "Sort the numbers up : 27 19 24", "response_a": "19 27 24", "response_b": "19 24 27"}


def place(block: Block) -> str:
    return block.place


# --- Shell ------------------------------------------------------------------------------------------------------------


def parse_selftaught(*arguments: str) -> Any:
    """What the command line makes of these words, without running anything."""
    return _parsed(typer.main.get_command(app), typer.Context, arguments)


def parse_dg(*arguments: str) -> None:
    """`scaffold defs` knows its components only in a project, where the component's own tests call it."""
    import dagster as dg
    from dagster_dg_cli.cli import cli

    if arguments[:2] == ("scaffold", "defs"):
        module, _, name = arguments[2].rpartition(".")
        assert issubclass(getattr(import_module(module), name), dg.Component)
    else:
        _parsed(cli, click.Context, arguments)


def parse_dagster(*arguments: str) -> None:
    from dagster._cli.dev import dev_command

    assert arguments[0] == dev_command.name
    dev_command.make_context("dev", list(arguments[1:]))


def _parsed(command: Any, kind: type, arguments: Sequence[str]) -> Any:
    """The context in which the last command of these words would be invoked."""
    context, words = kind(command), list(arguments)
    while hasattr(command, "get_command"):
        command = command.get_command(context, words.pop(0))
        assert command is not None, arguments
    return command.make_context(command.name, words)


def parse_make(*arguments: str) -> None:
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def parse_pip(verb: str, *arguments: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if verb == "wheel":
        assert arguments == ("--no-deps", "--wheel-dir", "dist", ".")
        return
    (requirement,) = arguments
    named = re.fullmatch(r"([\w-]+)\[([\w,]+)\]|(\w+)-[\d.]+-py3-none-any\.whl", requirement)
    assert (verb, (named[1] or named[3]).replace("_", "-")) == ("install", project["name"])
    assert set((named[2] or "test").split(",")) <= set(project["optional-dependencies"])


def parse_curl(url: str, *arguments: str) -> None:
    from selftaught_assets.judge.service import CompareRequest

    assert url.endswith(":8000/v1/compare")
    CompareRequest.model_validate_json(arguments[arguments.index("-d") + 1])


def parse_vllm(*arguments: str) -> None:
    """Its own parser takes long to import; the server of the tests is started with these options, or with no value."""
    server = (ROOT / "selftaught_assets_tests" / "vllm_server.py").read_text(encoding="utf-8")
    known = set(re.findall(r"--[a-z-]+", server)) | {"--max-lora-rank"}
    assert {word for word in arguments if word.startswith("--")} <= known


def parse_python(*arguments: str) -> None:
    parsers = {"vllm.entrypoints.openai.api_server": parse_vllm, "pip": parse_pip}
    assert arguments[0] == "-m"
    parsers[arguments[1]](*arguments[2:])


PARSERS: dict[str, Callable[..., object]] = {
    "selftaught": parse_selftaught,
    "dg": parse_dg,
    "dagster": parse_dagster,
    "cd": lambda folder: None,
    "make": parse_make,
    "pip": parse_pip,
    "curl": parse_curl,
    "vllm": parse_vllm,
    "python": parse_python,
    "export": lambda *assignments: None,
}


def parse(text: str) -> None:
    """Fails where a line of a shell block cannot be typed."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for command in commands(text):
        assert command.program in PARSERS, f"nobody knows whether `{command}` works: add a parser"
        PARSERS[command.program](*command.arguments)


@pytest.mark.parametrize("block", SHELL, ids=place)
def test_every_line_of_a_shell_block_can_be_typed(block: Block) -> None:
    parse(block.text)


@pytest.mark.parametrize(
    "stale",
    [
        "selftaught results --benchmarks tinyworld",
        "selftaught judge -o verdicts.jsonl",
        "selftaught review answers",
        ".venv/bin/selftaught judge pairs.jsonl -o verdicts.jsonl --votes none",
        "make everything",
        "dg check definitions",
        "dg scaffold defs selftaught_assets.Evaluator my_judge",
        "dagster dev --prt 3000",
        "pip install 'selftaught-assets[gcs]'",
        'curl http://127.0.0.1:8000/v1/compare -d \'{"prompt": "Sort"}\'',
        "vllm serve models/seed --enable-loras",
        "python train.py",
        "make run (",
    ],
)
def test_a_stale_line_is_found(stale: str) -> None:
    with pytest.raises(STALE):
        parse(stale)


NOT_RUN = {
    "run": "other tests run it, for minutes",
    "serve": "it does not end",
    "ui": "it does not end",
    "review": "it does not end, unless with --summary",
    "promote": "nothing is refused here",
    "model": "it needs the hub, or a file of the reader's",
}
NEEDS_MORE = ("vllm", "demo_unfiltered", "rewardbench")
"""A package, data or a benchmark that the small world does not have."""


def _can_be_run(command: Command) -> bool:
    name = command.arguments[0]
    if command.program != "selftaught" or any(word in str(command) for word in NEEDS_MORE):
        return False
    return name not in NOT_RUN or "--summary" in command.arguments


TYPED = dict.fromkeys(command for block in SHELL for command in commands(block.text) if _can_be_run(command))


@pytest.fixture(scope="module")
def world(two_iterations: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the small recipe, two iterations of it, and pairs to judge; nothing opens a browser."""
    folder = tmp_path_factory.mktemp("typed")
    write_small_recipe(folder, **TRAINED)
    (folder / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    with copy_of(two_iterations, folder), pytest.MonkeyPatch.context() as patched:
        patched.setattr(webbrowser, "open", lambda address: True)
        patched.setenv("DAGSTER_HOME", str(folder / "home"))
        patched.setenv("SELFTAUGHT_DATA", str(folder / "data"))
        yield folder


@pytest.mark.parametrize("command", TYPED, ids=str)
def test_a_command_of_a_page_does_what_it_says(command: Command, world: Path, two_iterations: Loop) -> None:
    example = two_iterations.table("filtered_set", SECOND)["example_id"][0]
    names = {"ID": example, "iteration_03": SECOND}
    words = [names.get(word, "small.yaml" if word.endswith(".yaml") else word) for word in command.arguments]
    takes_recipe = "recipe" in parse_selftaught(*words).params and "--judge my_judge" not in str(command)
    if takes_recipe and "--recipe" not in words:
        words += ["--recipe", "small.yaml"]
    done = selftaught(*words, folder=world)
    assert done.returncode == 0, done.stderr


# --- The other languages ----------------------------------------------------------------------------------------------


def shipped_instance() -> dict[str, Any]:
    """The settings of the shipped dagster.yaml, with those that are commented out."""
    text = (ROOT / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8")
    (storage,) = re.findall(r"^# storage:\n(?:#   .*\n)+", text, re.MULTILINE)
    return yaml.safe_load(text + re.sub(r"^# ", "", storage, flags=re.MULTILINE))


def load_part(text: str) -> None:
    """Loads sections of a recipe in place of the small one's, or as a component's attributes; or of dagster.yaml."""
    sections, shipped = yaml.safe_load(text), shipped_instance()
    if sections.keys() <= shipped.keys():
        for name, settings in sections.items():
            if shipped[name] | settings != shipped[name]:
                raise ValueError(f"validation error: {name} is not as in the shipped dagster.yaml")
        return
    if "type" in sections:
        assert sections["type"] == "selftaught_assets.SelfTaughtEvaluator"
        sections = sections["attributes"]
    benchmarks = [*SMALL["benchmarks"], {"name": "my_pairs", "path": "mine.jsonl"}]
    Recipe.model_validate(SMALL | {"benchmarks": benchmarks} | sections)


@pytest.mark.parametrize("block", of("yaml"), ids=place)
def test_every_yaml_block_is_part_of_a_recipe_or_of_dagsters_settings(block: Block) -> None:
    load_part(block.text)


@pytest.mark.parametrize(
    "stale", ["promotion: {rule: never}", "engines: vllm", "price: {per_day: 3}", "run_launcher: {class: Other}"]
)
def test_a_stale_part_is_found(stale: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        load_part(stale)


@pytest.mark.parametrize("block", of("json"), ids=place)
def test_every_json_block_can_be_read(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", SCRIPTS.values(), ids=place)
def test_a_python_block_runs_as_a_script(block: Block, world: Path) -> None:
    """In a process of its own: some mistakes show only when the interpreter ends."""
    script = world / "script.py"
    script.write_text(block.text.replace('load("newest")', 'load("newest", "small.yaml")'), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=world, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert re.fullmatch(r"(A|B|INVALID) [\d.]+\n" if "print(" in block.text else "", done.stdout)


def test_every_block_says_what_it_is() -> None:
    assert {block.place: block.language for block in BLOCKS if block.language not in LANGUAGES} == {}


def test_no_block_is_indented_instead_of_fenced() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks_of(page, text):
            text = text.replace(block.text, "")
        assert not re.search(r"\n\n    \S", text), page
