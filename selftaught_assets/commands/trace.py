"""`selftaught trace`: where a row comes from, and what came of it, as a tree.

Belongs here: the command, and how a node reads in the terminal. Not here: how it is found (lineage).
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from selftaught_assets.commands.common import JsonOption, RecipeOption, console
from selftaught_assets.commands.shown import line, visible

if TYPE_CHECKING:
    from selftaught_assets.lineage import Node, Trace


def trace(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of an instruction, pair, judgment, example or benchmark item, the digest of a judge or checkpoint, "
            "or at least four characters from its beginning.",
        ),
    ],
    down: Annotated[bool, typer.Option("--down", help="What came of it, instead of where it comes from.")] = False,
    iteration: Annotated[str | None, typer.Option("--iteration", "-i", help="Only what belongs to it.")] = None,
    recipe: RecipeOption = "demo",
    full: Annotated[bool, typer.Option("--full", help="Whole texts, instead of one line of each.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print where a row comes from: pool, instruction, pair, judgments, checkpoint, and who wrote what."""
    from selftaught_assets.lineage import trace as traced
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    answer = traced(Layout.of(loaded), loaded, id, down=down, iteration=iteration)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print(answer, full)


def _print(answer: "Trace", full: bool) -> None:
    for top in answer["trees"]:
        tree = Tree(line(top, full), guide_style="dim")
        _add(tree, top["children"], full)
        console.print(tree, highlight=False)
    for problem in answer["problems"]:
        console.print(Text(f"! {visible(problem)}", style="yellow"), highlight=False, soft_wrap=True)
    if full:
        _print_tables(answer)


def _add(tree: Tree, nodes: "list[Node]", full: bool) -> None:
    for node in nodes:
        _add(tree.add(line(node, full)), node["children"], full)


def _print_tables(answer: "Trace") -> None:
    """How the tables were made that the answer was read from."""
    for table in answer["tables"]:
        name = table["asset"] if table["iteration"] is None else f"{table['asset']} of {table['iteration']}"
        if table["run_id"] is None:
            said = "does not say how it was made"
        else:
            said = (
                f"version {table['data_version']}, made at {table['made_at'][:19]} by run {table['run_id']}, "
                f"code version {table['code_version']}"
            )
        console.print(Text(f"{name}: {said}", style="dim"), highlight=False, soft_wrap=True)
