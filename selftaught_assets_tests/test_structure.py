"""The structure of the package: imports point downward, and nothing imports itself on a detour.

Imports inside functions count as well: they are there since packages are heavy, not to hide a circle.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import selftaught_assets

PACKAGE = Path(selftaught_assets.__file__).parent
LAYERS = (
    {"version"},
    {"errors", "iterations", "processes", "startup"},
    {"paths"},
    {"input_files", "runs"},
    {"model_files"},
    {"method"},
    {"recipe"},
    {"staleness"},
    {"storage"},
    {"engines"},
    {"training"},
    {"checks", "judge", "lineage", "report", "review", "tinyworld"},
    {"assets"},
    {"component"},
    {"selftaught_assets", "definitions", "preload"},  # The package itself exports the component.
    {"commands"},
    {"cli"},
)
"""Rooms, that is modules and packages of the top level, from the lowest to the highest."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, modules: set[str]) -> set[str]:
    """Modules of the package that a source imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in named}
    return found & modules


def imports() -> dict[str, set[str]]:
    paths = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    return {name: imports_of(path.read_text(), set(paths)) for name, path in paths.items()}


def room(module: str) -> str:
    return module.removeprefix("selftaught_assets.").split(".")[0]


def upward(graph: dict[str, set[str]]) -> list[str]:
    """The imports of a room that is not lower than the importing one."""
    level = {name: place for place, rooms in enumerate(LAYERS) for name in rooms}
    return [
        f"{module} -> {imported}"
        for module, found in graph.items()
        for imported in found
        if room(module) != room(imported) and level[room(module)] <= level[room(imported)]
    ]


def test_imports_point_to_lower_rooms():
    assert upward(imports()) == []


def test_no_module_imports_itself_on_a_detour():
    TopologicalSorter(imports()).prepare()


def test_an_import_upward_in_a_function_is_seen():
    source = "def opened():\n    from selftaught_assets.assets import family\n"
    modules = {"selftaught_assets.storage.files", "selftaught_assets.assets.family"}
    found = imports_of(source, modules)
    assert upward({"selftaught_assets.storage.files": found}) == [
        "selftaught_assets.storage.files -> selftaught_assets.assets.family"
    ]


def test_a_circle_is_seen():
    graph = imports()
    graph["selftaught_assets.errors"].add("selftaught_assets.cli")
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_every_module_says_what_it_is():
    silent = [
        str(path)
        for path in PACKAGE.rglob("*.py")
        if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_only_assets_checks_training_and_commands_know_dagster():
    knowing = {
        room(module_name(path))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "dagster" for alias in node.names)
    }
    others = {"commands", "component", "definitions", "iterations", "preload", "runs"}
    assert knowing <= {"assets", "checks", "training"} | others


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md", "docs/method.md"])
def test_files_that_documents_name_exist(document: str):
    root = PACKAGE.parent
    places = (root, PACKAGE, root / "selftaught_assets_tests")
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|yaml|md))`", (root / document).read_text())
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_the_way_of_one_pair_opens_at_most_25_files():
    way = (PACKAGE.parent / "docs/architecture.md").read_text().split("## One pair")[1].split("Not on this path")[0]
    assert 15 <= len(set(re.findall(r"`([a-z_/]+\.(?:py|yaml))`", way))) <= 25
