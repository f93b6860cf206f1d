"""The commands `init`, which lays down a project, and `ui`, which opens Dagster on it."""

import os
import shlex
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import console, on_this_machine, use_dagster_home
from selftaught_assets.errors import UserError, as_clause

IGNORED = "/data/\n/dagster_home/*\n!/dagster_home/dagster.yaml\n"
"""What a project's .gitignore names: tables, checkpoints and Dagster's history."""

RecipesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        "-r",
        help="A recipe's name, or the path of a .yaml file; may be repeated. By default those in SELFTAUGHT_RECIPES, "
        "or demo.",
        show_default=False,
    ),
]


def init(
    folder: Annotated[
        Path,
        typer.Argument(callback=on_this_machine, help="Folder of the project; it must be new or empty."),
    ],
) -> None:
    """Lay down a project: recipes, the demo's data and model, and Dagster's configuration."""
    from selftaught_assets.recipe import shipped_project
    from selftaught_assets.storage.files import folder_written_aside

    project = shipped_project()
    with folder_written_aside(folder) as aside:
        shutil.copytree(project, aside, dirs_exist_ok=True)  # Follows the links that a clone has in it.
        (aside / ".gitignore").write_text(IGNORED, encoding="utf-8")
    console.print(f"A project is in {escape(str(folder))}. Its recipe is recipes/demo.yaml. Next:\n", highlight=False)
    for command, meaning in (
        (f"cd {shlex.quote(str(folder))}", ""),
        ("selftaught run", "trains a judge on the demo, in minutes"),
        ("selftaught ui", "Dagster on http://127.0.0.1:3000"),
    ):
        console.print(f"    [bold]{escape(command):<24}[/] {meaning}".rstrip(), highlight=False)
    console.print("\nFor your own data and model, edit recipes/own_data.yaml.", highlight=False)


def ui(
    recipe: RecipesOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
) -> None:
    """Open Dagster on the recipes, with all runs of `selftaught run`. Ctrl-C ends it."""
    from selftaught_assets.recipe import load_recipe

    names = recipe or [name for name in os.environ.get("SELFTAUGHT_RECIPES", "").split(",") if name.strip()]
    for name in names:
        load_recipe(name.strip())  # A mistake is one sentence here, and a page of Dagster's there.
    _require_free(host, port)
    use_dagster_home()
    environment = os.environ | ({"SELFTAUGHT_RECIPES": ",".join(names)} if names else {})
    target = ["-w", "workspace.yaml"] if Path("workspace.yaml").is_file() else ["-m", "selftaught_assets.definitions"]
    command = [sys.executable, "-m", "dagster", "dev", *target, "-h", host, "-p", str(port)]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def _require_free(host: str, port: int) -> None:
    """Refuses an address that is in use: Dagster would run on without its UI."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As the UI itself will.
            probe.bind((host, port))
    except OSError as error:
        reason = as_clause(error.strerror or str(error))
        raise UserError(f"Dagster cannot listen on {host}, port {port} ({reason}): name another --port.") from None
