"""`selftaught checks`: a recipe's checks as a project of Great Expectations, and as Data Docs."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import RecipeOption, console, on_this_machine

checks = typer.Typer(
    name="checks",
    no_args_is_help=True,
    help="Export the checks as a Great Expectations project, or build its pages about their results.",
)


@checks.command()
def export(
    folder: Annotated[Path, typer.Argument(callback=on_this_machine, help="Folder to write; it must be new or empty.")],
    recipe: RecipeOption = "demo",
) -> None:
    """Write suites and a project that Great Expectations runs on the recipe's Parquet files without this package."""
    from selftaught_assets.checks.project import export_project
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    found = export_project(folder, loaded, Layout.of(loaded))
    console.print(
        f"{found.expectations:,} expectations about {found.tables:,} files are in {escape(str(folder))}. Its README.md "
        f"says how to run them, and which {found.left_out:,} rules need more than the tables as they are stored.",
        highlight=False,
        soft_wrap=True,
    )


@checks.command()
def docs(
    recipe: RecipeOption = "demo",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Build Data Docs, Great Expectations' own pages about the results of the newest checks."""
    from selftaught_assets.checks.project import FROM_CDN, build_docs
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    page = build_docs(Layout.of(load_recipe(recipe)))
    console.print(f"{escape(str(page))}. {FROM_CDN}", highlight=False, soft_wrap=True)
    if open_page:
        webbrowser.open(page.absolute().as_uri())
