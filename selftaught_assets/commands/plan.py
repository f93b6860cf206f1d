"""`selftaught plan`: what a run would make again, and why.

Belongs here: the command and what it prints. Not here: what makes a result stale (staleness.py, storage/stored.py).
"""

import json

import typer
from rich.markup import escape

from selftaught_assets.commands.common import JsonOption, RecipeOption, console


def plan(recipe: RecipeOption = "demo", as_json: JsonOption = False) -> None:
    """Show what of each iteration is current, and what `selftaught run` would make again, with the reason."""
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout
    from selftaught_assets.storage.stored import all_stale

    loaded = load_recipe(recipe)
    found = all_stale(loaded, Layout.of(loaded))
    if as_json:
        reasons = {key: {one.stage: one.reason for one in stages} for key, stages in found.items()}
        typer.echo(json.dumps({"schema": 1, "recipe": loaded.name, "stale": reasons}, indent=2))
        return
    for key, stages in found.items():
        console.print(f"[bold]{key}[/]" + ("" if stages else "  [green]✓[/] current"), highlight=False)
        for one in stages:
            console.print(f"  {one.stage:<13} {escape(one.reason)}", highlight=False, soft_wrap=True)
