"""`selftaught export`: a judge as a folder to take along. Not here: what the folder holds (selftaught_assets/judge)."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.common import RecipeOption, errors
from selftaught_assets.commands.judges import print_caution


def export(
    judge: Annotated[
        str, typer.Argument(help="`newest`, `seed`, an iteration such as iteration_03, or a checkpoint's folder.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")],
    merge: Annotated[bool, typer.Option("--merge", help="Full weights instead of the adapter.")] = False,
    recipe: RecipeOption = "demo",
) -> None:
    """Write a judge as a Hugging Face folder: weights, tokenizer, chat template, prompts and a model card."""
    from transformers.utils import logging

    from selftaught_assets.judge.export import export_judge
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    logging.disable_progress_bar()
    loaded = load_recipe(recipe)
    found = export_judge(judge, folder, loaded, Layout.of(loaded), merge=merge)
    print_caution(found.caution)
    errors.print(
        f"{escape(found.name)} ({found.model.digest[:12]}) is in {escape(str(folder))}.",
        highlight=False,
        soft_wrap=True,
    )
