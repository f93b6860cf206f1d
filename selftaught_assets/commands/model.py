"""`selftaught model`: making a model folder that a recipe can name."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import console, on_this_machine

model = typer.Typer(name="model", no_args_is_help=True, help="Make a model folder that a recipe can name.")


class _Dtype(StrEnum):
    bfloat16 = "bfloat16"
    float32 = "float32"


@model.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="A GGUF file, a model folder, or an id of the Hugging Face hub (organisation/name).")
    ],
    folder: Annotated[Path, typer.Argument(callback=on_this_machine, help="Folder to write; it must be new or empty.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model of the hub.")] = None,
    dtype: Annotated[_Dtype, typer.Option(help="Of the weights that are read from a GGUF file.")] = _Dtype.bfloat16,
) -> None:
    """Make a seed model's folder of a GGUF file, a model of the hub, or another folder.

    Weights as safetensors, tokenizer, chat template and card are taken; code and pickles never are.
    """
    from selftaught_assets.engines.importing import import_model

    with console.status(f"Reading {escape(source)}"):
        found = import_model(source, folder, revision=revision, dtype=dtype.value)
    system = "yes" if found.takes_system else "no: its chat template refuses or drops one"
    for name, value in (
        ("model", f"{found.architecture}, {found.parameters:,} parameters"),
        ("digest", found.digest[:16]),
        ("licence", found.licence or "not stated; look for it where the model comes from"),
        ("context", "no limit" if found.context is None else f"{found.context:,} tokens"),
        ("a turn ends with", " ".join(found.ends)),
        ("system message", system),
    ):
        console.print(f"{name:<17} {escape(value)}", highlight=False, soft_wrap=True)
    console.print(
        f"\nIt is in {escape(str(folder))}: name it as `seed_model` in a recipe.", highlight=False, soft_wrap=True
    )
