"""The wheel, in an environment where it is installed and this checkout is not, and a project that was run with it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from selftaught_assets_tests.command_line import Done
from selftaught_assets_tests.conftest import ROOT, write_small_recipe
from selftaught_assets_tests.forks import forked_command

SOURCES = (
    *("selftaught_assets", "recipes", "models", "dagster_home/dagster.yaml"),
    *("workspace.yaml", "pyproject.toml", "README.md", "LICENSE"),
)
OURS = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "DAGSTER_HOME", "SELFTAUGHT_DATA", "SELFTAUGHT_RECIPES", "VIRTUAL_ENV")
"""Variables that would lead back to this checkout."""


def outside(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without what leads to this checkout."""
    return {name: value for name, value in environment.items() if name not in OURS}


class Installed:
    """An environment with the wheel in it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.environment = outside() | {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command that must succeed, typed in a folder."""
        ended = subprocess.run(
            command,
            cwd=folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install` of the built wheel gives; the packages that it requires are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    for name in SOURCES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            left = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=left)
        else:
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([*pip, *wheel], check=True, capture_output=True, env=outside())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (built,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    install = ["--python", str(python), "install", "-q", "--no-deps", str(built)]
    subprocess.run([*pip, *install], check=True, capture_output=True, env=outside())
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path in a .pth file does not make Python read the .pth files there, of which one names this checkout.
    seldom = "import gc; gc.set_threshold(100_000, 50, 50)"  # As quick_python has it.
    (packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n{seldom}\n", encoding="utf-8")
    for command in ("dagster", "dg"):
        script = Path(sys.executable).with_name(command).read_text(encoding="utf-8").split("\n", 1)[1]
        (environment / "bin" / command).write_text(f"#!{python}\n{script}", encoding="utf-8")
        (environment / "bin" / command).chmod(0o755)
    found = Installed(environment)
    where = found.run("python", "-c", "import selftaught_assets; print(selftaught_assets.__file__)", folder=folder)
    assert Path(where.stdout.strip()).is_relative_to(packages), "this is the checkout, in which nothing is missing"
    return found


CAN_UNPLUG = shutil.which("unshare") and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
UNPLUGGED = ["unshare", "-rn"] if CAN_UNPLUG else []
"""A network namespace with nothing in it; where that is not allowed, proxies that nobody answers must do."""
DATA = "data [b] é"
"""A folder whose name looks like a pattern and like markup."""


class Ran(NamedTuple):
    """A project of `selftaught init` with the small recipe, run twice for one iteration: first by the installed wheel,
    in processes without a network, then by this checkout."""

    folder: Path
    first: Done
    second: Done


OWN = {"seed_model": "../models/seed", "prompts": "tinyworld/prompts"}
"""Where the small recipe finds these in a project."""


@pytest.fixture(scope="session")
def ran(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("empty") / "my project"
    installed.run("selftaught", "init", folder.name, folder=folder.parent)
    write_small_recipe(folder / "recipes", **OWN)
    arguments = ("run", "--recipe", "small", "--iterations", "1")
    return Ran(folder, started(installed, folder, *arguments), run_here(folder, *arguments))


def started(installed: Installed, folder: Path, *arguments: str) -> Done:
    """Runs the command line as a user does who has installed the wheel, in a folder, without a network."""
    command = [*UNPLUGGED, "selftaught", *arguments]
    environment = outside(_environment(folder)) | places(folder) | {"PATH": installed.environment["PATH"]}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def run_here(folder: Path, *arguments: str) -> Done:
    """Runs that of this checkout, in a fork, which spares its imports."""
    return forked_command(*arguments, folder=folder, environment=_environment(folder))


def _environment(folder: Path) -> dict[str, str]:
    """With nobody answering at the proxies that would be needed."""
    nobody = "http://127.0.0.1:9"
    unwanted = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DAGSTER_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED")
    return {name: value for name, value in os.environ.items() if name not in unwanted} | {
        **places(folder),
        "HTTP_PROXY": nobody,
        "HTTPS_PROXY": nobody,
        "ALL_PROXY": nobody,
    }


def places(folder: Path) -> dict[str, str]:
    """Where Dagster's history and the data of a project lie."""
    return {"DAGSTER_HOME": str(folder / "home"), "SELFTAUGHT_DATA": str(folder / DATA)}
