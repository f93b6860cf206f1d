"""The site builds without a warning and without a network, and nothing in it or in README.md is stale."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.command_line import selftaught
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.docs.blocks import PAGES

README = ROOT / "README.md"
MOST_LINES = 130
GENERATED = [page for page in PAGES if "[[[cog" in page.read_text(encoding="utf-8")]
RESULTS = ROOT / "docs" / "reference" / "results.md"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    nowhere = {"NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _cog(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cogapp", "-P", "-I", "tools", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_what_is_generated_in_the_pages_is_not_stale() -> None:
    """Otherwise `make docs` writes it anew."""
    assert GENERATED
    done = _cog("--check", *GENERATED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text(RESULTS.read_text(encoding="utf-8").replace("`digest`", "`hash`"), encoding="utf-8")
    assert _cog("--check", page).returncode != 0


def test_a_page_of_the_site_loads_nothing_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    loading = r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(https?:)?//[^>]*>"
    linked = r"<link\b(?![^>]*rel=[\"']?canonical)[^>]*\bhref=[\"']?(https?:)?//[^>]*>"
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert not re.search(f"{loading}|{linked}", html), page
        assert 'class="mermaid"' not in html, f"{page} would fetch mermaid"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_files_that_the_readme_links_to_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_every_key_of_real_results_is_in_the_reference(two_iterations: Loop) -> None:
    folder = Path(two_iterations.instance.root_directory)
    told = selftaught(
        *("results", "--json", "--recipe", str(two_iterations.recipe.pool.path.parent / "small.yaml")),
        folder=folder,
        DAGSTER_HOME=str(folder),
        SELFTAUGHT_DATA=str(two_iterations.layout.root),
    )
    assert told.returncode == 0, told.stderr
    reference = RESULTS.read_text(encoding="utf-8")
    assert sorted(key for key in keys(json.loads(told.stdout)) if f"`{key}`" not in reference) == []


BY_NAME = ("vote_accuracy", "published", "subsets", "costs")
"""Objects whose keys are names: of votes, scores, subsets and stages."""


def keys(value: Any) -> set[str]:
    """All keys in a value but those that are names."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for name, inner in value.items():
        found |= set().union(*map(keys, inner.values())) if name in BY_NAME else keys(inner)
    return found
