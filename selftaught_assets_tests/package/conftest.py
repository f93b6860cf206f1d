"""The wheel, in an environment where it is installed and this checkout is not."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from selftaught_assets_tests.browser import browser
from selftaught_assets_tests.conftest import ROOT

__all__ = ["browser"]

SOURCES = (
    *("selftaught_assets", "recipes", "models", "dagster_home/dagster.yaml"),
    *("workspace.yaml", "pyproject.toml", "README.md", "LICENSE"),
)
OURS = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "DAGSTER_HOME", "SELFTAUGHT_DATA", "SELFTAUGHT_RECIPES", "VIRTUAL_ENV")
"""Variables that would lead back to this checkout."""


def outside() -> dict[str, str]:
    """The environment of this process without what leads to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


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
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    for command in ("dagster", "dg"):
        script = Path(sys.executable).with_name(command).read_text(encoding="utf-8").split("\n", 1)[1]
        (environment / "bin" / command).write_text(f"#!{python}\n{script}", encoding="utf-8")
        (environment / "bin" / command).chmod(0o755)
    return Installed(environment)
