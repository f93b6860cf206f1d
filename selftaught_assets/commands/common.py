"""What commands share: where they print, and the options that several have.

Belongs here: the console, common options, finding the Dagster instance. Not here: any one command.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from selftaught_assets.assets.family import Family

console = Console()
errors = Console(stderr=True)

RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe's name, or the path of a .yaml file.", show_default=True)
]
BenchmarkOption = Annotated[
    str | None, typer.Option("--benchmark", "-b", help="One of the recipe's benchmarks; the first by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]


def use_dagster_home() -> None:
    """Makes a Dagster instance at DAGSTER_HOME, or in the folder `dagster_home`, unless there is one."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(Path("dagster_home").resolve())))
    if not (home / "dagster.yaml").is_file():
        home.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")


def family_of(recipe: str, benchmark: str | None) -> "tuple[Family, str]":
    """The assets of a recipe, and the benchmark that is meant; raises UserError if the recipe has no such benchmark."""
    from selftaught_assets.assets.family import Family
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    names = [known.name for known in loaded.benchmarks]
    if benchmark is not None and benchmark not in names:
        raise UserError(f"Recipe {loaded.name} has no benchmark {benchmark!r}, only {', '.join(names)}.")
    return Family(loaded, Layout.of(loaded)), benchmark or names[0]
