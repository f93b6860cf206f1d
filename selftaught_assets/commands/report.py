"""The command `report`: the page that shows everything of a recipe so far, made now.

Belongs here: where it is written and how it is opened. Not here: what is on it (report/).
"""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from selftaught_assets.commands.common import RecipeOption, console, family_of, opened_instance
from selftaught_assets.errors import UserError


def report(
    recipe: RecipeOption = "demo",
    opens: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write it to; in the data folder by default.")
    ] = None,
) -> None:
    """Make the report from what there is now: results, data, checks and every judgment, as one HTML page."""
    from selftaught_assets.assets.report import write_report

    family, _ = family_of(recipe, None)
    path = (output or family.layout.report).resolve()
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the file to write the report to.")
    with opened_instance() as instance:
        written = write_report(instance, family, path)
    console.print(str(written.path), highlight=False, markup=False, soft_wrap=True)
    if opens and not webbrowser.open(written.path.as_uri()):
        raise UserError(f"No browser was found: open {written.path} in one.")
