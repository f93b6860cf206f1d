"""What the commands that use a judge share: how it is named and loaded, and the progress that they show.

Not here: any one command, and what all commands share (common.py).
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.common import errors

if TYPE_CHECKING:
    from rich.console import Console

    from selftaught_assets.judge import Judge
    from selftaught_assets.judge.voting import VotingProgress

PLAIN_LINE_SECONDS = 10.0

JudgeOption = Annotated[
    str,
    typer.Option(
        "--judge",
        help="`newest`, `seed`, an iteration such as iteration_03, or the folder of a checkpoint, adapter or model.",
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="In place of the recipe's engine: transformers, vllm, auto, or a mapping such as "
        "'{name: openai, address: http://127.0.0.1:8000/v1, model: seed, identity: seed-v1}'.",
        show_default=False,
    ),
]
DEFAULT_JUDGE = "newest"


def load_quietly(what: str, recipe: str, engine: str | None) -> "Judge":
    """Loads a judge without the progress bars and warnings of `transformers`; says what there is to know about it."""
    from transformers.utils import logging

    from selftaught_assets.judge import Caution, Judge

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Caution)
        judge = Judge.load(what, recipe, engine=engine)
    print_caution(judge.caution)
    return judge


def print_caution(caution: str | None) -> None:
    """What whoever uses a judge should know about it."""
    if caution is not None:
        errors.print(f"[yellow]Note:[/] {escape(caution)}", highlight=False, soft_wrap=True)


@contextmanager
def shown_progress(console: "Console") -> "Iterator[Callable[[VotingProgress], None]]":
    """Shows how far judging is: a bar on a terminal, else a plain line every ten seconds."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("judging"), BarColumn(), TextColumn("{task.fields[detail]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=None, detail="")
        last_line = time.monotonic()

        def show(now: "VotingProgress") -> None:
            nonlocal last_line
            detail = (
                f"{now.settled:,} of {now.questions:,} pairs, {now.judgments:,} judgments, "
                f"{now.tokens_per_second:,.0f} tokens/s"
            )
            bar.update(task, total=now.questions, completed=now.settled, detail=detail)
            if not console.is_terminal and time.monotonic() - last_line >= PLAIN_LINE_SECONDS:
                last_line = time.monotonic()
                console.print(f"judging: {detail}", highlight=False, soft_wrap=True)

        yield show
