"""The commands `plan` and `promote`."""

import json
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import JsonOption, RecipeOption, console, opened_instance


def plan(recipe: RecipeOption = "demo", as_json: JsonOption = False) -> None:
    """Show which stages of each iteration are current, and which ones `selftaught run` would make again, and why."""
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


def promote(
    iteration: Annotated[str, typer.Argument(help="The iteration whose checkpoint may judge, such as iteration_02.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded with your name and the time.")],
    recipe: RecipeOption = "demo",
) -> None:
    """Let a refused checkpoint judge the next iteration anyway, for a recorded reason."""
    from selftaught_assets.assets.family import Family
    from selftaught_assets.assets.promotion import promote_by_hand
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout
    from selftaught_assets.storage.ownership import claim
    from selftaught_assets.storage.writers import one_stage

    loaded = load_recipe(recipe)
    family = Family(loaded, Layout.of(loaded))
    with opened_instance() as instance, one_stage(family.layout, "checkpoint", iteration, "`selftaught promote`"):
        claim(loaded, family.layout)
        following = promote_by_hand(instance, family, iteration, reason)
    judges = "there is no next iteration" if following is None else f"it judges {following}"
    typer.echo(f"The checkpoint of {iteration} is promoted: {judges}.")
