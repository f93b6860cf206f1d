"""The wheel in an empty folder, in a project of Dagster's, and on a machine that has nothing but an exported judge."""

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.browser import screenshot, watched_page
from selftaught_assets_tests.command_line import selftaught
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.ports import unused_port
from selftaught_assets_tests.wheel import Installed, Ran, places

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COMPONENT = "selftaught_assets.SelfTaughtEvaluator"
PAIR = {
    "instruction": "Sort the numbers up : 27 19 24",
    "response_a": "19 27 24",
    "response_b": "19 24 27",
}
_ASSETS = "{ assetNodes { assetKey { path } groupName } }"
_MADE = """
query Made($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) { partition } } }
}"""


def graphql(port: int, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["data"]


@contextmanager
def dagster(installed: Installed, folder: Path, *command: str, **environment: str) -> Iterator[int]:
    """A Dagster that was started in a folder; gives its port once it has loaded the assets."""
    port = unused_port()
    log = folder / "dagster.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=installed.environment | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                try:
                    if graphql(port, _ASSETS)["assetNodes"]:
                        break
                except OSError:
                    pass
                time.sleep(0.3)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def test_a_project_in_an_empty_folder_has_what_dagster_needs(ran: Ran) -> None:
    """That `selftaught run` works there, test_cli.py shows."""
    laid_down = {".gitignore", "dagster_home", "models", "recipes", "workspace.yaml"}
    assert laid_down <= {path.name for path in ran.folder.iterdir()}
    settings = yaml.safe_load((ran.folder / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings["concurrency"]["runs"]["tag_concurrency_limits"][0]["key"] == "dagster/backfill"
    assert load_recipe(str(ran.folder / "recipes" / "demo.yaml")).seed_model == ran.folder / "models" / "seed"


def test_the_folder_of_a_project_must_be_new(ran: Ran) -> None:
    refused = selftaught("init", ran.folder.name, folder=ran.folder.parent)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Error: my project already exists and is not empty: name a new folder.\n"


def test_the_ui_of_the_project_shows_what_was_run(installed: Installed, ran: Ran) -> None:
    with dagster(installed, ran.folder, "selftaught", "ui", "--recipe", "small", **places(ran.folder)) as port:
        keys = {"/".join(node["assetKey"]["path"]) for node in graphql(port, _ASSETS)["assetNodes"]}
        made = graphql(port, _MADE, key={"path": ["small", "checkpoint"]})["assetOrError"]
    assert {"small/pairs", "small/judgments", "small/checkpoint"} <= keys
    assert made["assetMaterializations"] == [{"partition": "iteration_01"}]


@pytest.fixture(scope="module")
def exported(installed: Installed, ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported judge in it, far from the project."""
    folder = tmp_path_factory.mktemp("elsewhere")
    export = ("selftaught", "export", "iteration_01", str(folder / "judge"), "--merge", "--recipe", "small")
    installed.run(*export, folder=ran.folder, **places(ran.folder))
    return folder


def test_an_exported_judge_needs_nothing_else(installed: Installed, exported: Path) -> None:
    (exported / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    installed.run("selftaught", "judge", "pairs.jsonl", "-o", "out.jsonl", "--judge", "judge", folder=exported)
    told = json.loads((exported / "out.jsonl").read_text(encoding="utf-8"))
    assert told["verdict"] in {"A", "B"}
    assert told["votes_a"] + told["votes_b"] > 1


def test_the_lines_of_the_model_card_run(installed: Installed, exported: Path) -> None:
    said = (exported / "judge" / "README.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^    (.+)$", said, flags=re.MULTILINE)).replace("THIS FOLDER", "judge")
    values = "\n".join(f"{name} = {value!r}" for name, value in PAIR.items())
    (exported / "script.py").write_text(f"{values}\n{lines}\n", encoding="utf-8")
    installed.run(str(installed.bin / "python"), "script.py", folder=exported)


@pytest.fixture(scope="module")
def team(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of Dagster's, as create-dagster makes it, with a judge scaffolded by `dg`, and its copy."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "team"\nversion = "0"\n\n'
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "team"\n\n'
        '[tool.dagster]\nmodule_name = "team.definitions"\n',
        encoding="utf-8",
    )
    (folder / "team" / "defs").mkdir(parents=True)
    (folder / "team" / "__init__.py").touch()
    (folder / "team" / "definitions.py").write_text(
        "from pathlib import Path\n\nimport dagster as dg\n\n\n@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n",
        encoding="utf-8",
    )
    installed.run("dg", "scaffold", "defs", COMPONENT, "support_judge", folder=folder)
    shutil.copytree(folder / "team" / "defs" / "support_judge", folder / "team" / "defs" / "search_judge")
    return folder


def test_dg_lists_the_component(installed: Installed, team: Path) -> None:
    listed = json.loads(installed.run("dg", "list", "components", "--json", folder=team).stdout)
    assert COMPONENT in {component["key"] for component in listed["items"]}


def test_dg_finds_what_it_scaffolded_sound_and_a_mistake_in_it(installed: Installed, team: Path) -> None:
    installed.run("dg", "check", "yaml", folder=team)
    installed.run("dg", "check", "defs", folder=team)
    path = team / "team" / "defs" / "search_judge" / "defs.yaml"
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace("  iterations:", "  iteration:"), encoding="utf-8")
    # Without a path, dg 1.13 looks at one file of each type of component only.
    check = ["dg", "check", "yaml", str(path.parent)]
    refused = subprocess.run(check, cwd=team, env=installed.environment, capture_output=True, text=True, check=False)
    path.write_text(sound, encoding="utf-8")
    assert refused.returncode == 1
    assert "'iteration' was unexpected" in refused.stdout + refused.stderr


def test_two_judges_stand_side_by_side_in_the_ui(installed: Installed, team: Path, browser: "Browser") -> None:
    (team / "dagster_home").mkdir()
    shutil.copyfile(ROOT / "dagster_home" / "dagster.yaml", team / "dagster_home" / "dagster.yaml")
    here = {"DAGSTER_HOME": str(team / "dagster_home")}
    pool = "key:support_judge/instruction_pool"
    installed.run("dg", "launch", "--assets", pool, folder=team, **here)
    with dagster(installed, team, "dagster", "dev", **here) as port:
        groups: dict[str, set[str]] = {}
        for node in graphql(port, _ASSETS)["assetNodes"]:
            groups.setdefault(node["assetKey"]["path"][0], set()).add(node["groupName"])
        made = graphql(port, _MADE, key={"path": ["support_judge", "instruction_pool"]})["assetOrError"]
        with watched_page(browser, width=1600, height=760) as watched:
            watched.page.goto(f"http://127.0.0.1:{port}/asset-groups")
            for judge in ("support_judge", "search_judge"):
                watched.page.get_by_text(f"{judge}_training").first.wait_for()
            screenshot(watched.page, "two_judges")
    assert groups.keys() == {"support_judge", "search_judge"}
    assert not groups["support_judge"] & groups["search_judge"]
    assert len(made["assetMaterializations"]) == 1
