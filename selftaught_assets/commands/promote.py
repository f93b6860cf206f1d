"""`selftaught promote`: a refused checkpoint becomes the next judge all the same.

Belongs here: the command and what it prints. Not here: what a promotion is (assets/promotion.py).
"""

from typing import Annotated

import typer

from selftaught_assets.commands.common import RecipeOption, opened_instance


def promote(
    iteration: Annotated[str, typer.Argument(help="Whose checkpoint is to judge, such as iteration_02.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded with your name and the time.")],
    recipe: RecipeOption = "demo",
) -> None:
    """Let a refused checkpoint judge the next iteration all the same, for a recorded reason."""
    from selftaught_assets.assets.family import Family
    from selftaught_assets.assets.promotion import promote_by_hand
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    family = Family(loaded, Layout.of(loaded))
    with opened_instance() as instance:
        following = promote_by_hand(instance, family, iteration, reason)
    judges = "there is no next iteration" if following is None else f"it judges {following}"
    typer.echo(f"The checkpoint of {iteration} is promoted: {judges}.")
