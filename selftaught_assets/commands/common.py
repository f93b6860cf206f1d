"""What commands share: where they print, and the options that several have.

Belongs here: the console, common options, finding the Dagster instance. Not here: any one command.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from selftaught_assets.errors import UserError, as_clause

if TYPE_CHECKING:
    import dagster as dg

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


def use_dagster_home() -> Path:
    """Makes a Dagster instance at DAGSTER_HOME, or in the folder `dagster_home`, unless there is one.

    A relative path, or one that begins with `~`, is made absolute for all that follow: Dagster takes no other.

    Raises:
        UserError: there can be none.
    """
    named = os.environ.get("DAGSTER_HOME") or "dagster_home"
    try:
        home = Path(named).expanduser().resolve()
        settings = home / "dagster.yaml"
        if not settings.is_file():
            home.mkdir(parents=True, exist_ok=True)
            settings.write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it may not be written")
        settings.read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: there is no such user as in ~user.
        reason = as_clause((isinstance(error, OSError) and error.strerror) or str(error))
        raise UserError(
            f"DAGSTER_HOME is {named!r}, where no Dagster instance can be ({reason}): set it "
            "to a folder that you may write."
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def opened_instance() -> "Iterator[dg.DagsterInstance]":
    """The Dagster instance at DAGSTER_HOME.

    Raises:
        UserError: there can be none, or its settings or its storage are damaged.
    """
    import dagster as dg
    import yaml
    from sqlalchemy.exc import SQLAlchemyError

    home = use_dagster_home()
    try:
        if not isinstance(yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}, dict):
            raise yaml.YAMLError("it must be a mapping of settings")
        instance = dg.DagsterInstance.get()
    except (dg.DagsterError, yaml.YAMLError, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(
            f"The Dagster instance at {home} cannot be opened ({reason}): mend its dagster.yaml, or set DAGSTER_HOME "
            "to another folder."
        ) from None
    with instance:
        yield instance


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
