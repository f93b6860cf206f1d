"""`selftaught journal`: what the journal of a recipe holds, and merging its shards."""

import json
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.filesize import decimal

from selftaught_assets.commands.console import JsonOption, RecipeOption, console, new_table
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from selftaught_assets.storage.journal import Journal

journal = typer.Typer(
    name="journal",
    no_args_is_help=True,
    help="Count the completions stored for a recipe, or merge the files that hold them.",
)


class _Stages(NamedTuple):
    """The journals of a recipe."""

    place: str
    stages: "dict[str, Journal]"


@journal.command()
def stats(recipe: RecipeOption = "demo", as_json: JsonOption = False) -> None:
    """Print what the journal of each stage holds. Damaged shards are set aside, as in a run."""
    from selftaught_assets.storage.journal import contents

    place, stages = _stages_of(recipe)
    counted = {stage: contents(one)._asdict() for stage, one in stages.items()}
    if as_json:
        typer.echo(json.dumps({"journal": place, "stages": counted}, indent=2))
        return
    head = ("shards", "size", "comple-\ntions", "failed", "re-\npeated", "prompts", "tokens", "set\naside")
    table = new_table("stage", *head)
    for stage, found in counted.items():
        figures = [f"{found[name]:,}" for name in ("completions", "failed", "repeated", "prompts", "completion_tokens")]
        table.add_row(stage, f"{found['shards']:,}", decimal(found["bytes"]), *figures, f"{found['set_aside']:,}")
    _print_place(place)
    console.print(table)


@journal.command()
def compact(recipe: RecipeOption = "demo", as_json: JsonOption = False) -> None:
    """Merge the shards of each stage into few large ones, and drop duplicates. Safe during runs."""
    from selftaught_assets.storage.journal import compact as merge

    place, stages = _stages_of(recipe)
    done = {stage: merge(one)._asdict() for stage, one in stages.items()}
    if as_json:
        typer.echo(json.dumps({"journal": place, "stages": done}, indent=2))
        return
    table = new_table("stage", "shards\nbefore", "after", "size\nbefore", "after", "rows\ndropped")
    for stage, found in done.items():
        shards = (f"{found[name]:,}" for name in ("shards_before", "shards_after"))
        sizes = (decimal(found[name]) for name in ("bytes_before", "bytes_after"))
        table.add_row(stage, *shards, *sizes, f"{found['dropped']:,}")
    _print_place(place)
    console.print(table)


def _stages_of(recipe: str) -> _Stages:
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.journal import Journal
    from selftaught_assets.storage.journal_files import subfolders
    from selftaught_assets.storage.layout import Layout

    layout = Layout.of(load_recipe(recipe))
    stages = {stage: Journal(layout.journal(stage)) for stage in subfolders(layout.journal_root)}
    if not stages:
        raise UserError(f"The journal {layout.journal_root} is empty: nothing has been sampled for this recipe yet.")
    return _Stages(str(layout.journal_root), stages)


def _print_place(place: str) -> None:
    console.print(f"\nJournal {place}\n", markup=False, highlight=False, soft_wrap=True)
