"""`selftaught review`: a person reviews rows of a table."""

import getpass
import socket
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from selftaught_assets.commands.console import RecipeOption, console, interval_text, new_table, percent
from selftaught_assets.commands.stopping import Stopped
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from selftaught_assets.storage.layout import Layout


def review(
    kind: Annotated[
        Literal["pairs", "judgments", "instructions"] | None, typer.Argument(help="The table to review.")
    ] = None,
    iteration: Annotated[int, typer.Option("--iteration", "-i", min=1, help="Its iteration.")] = 1,
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=1000, help="How many rows, drawn at random.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw: another one shows other rows.")] = 1,
    reviewer: Annotated[str | None, typer.Option(help="Your name; your account's by default.")] = None,
    recipe: RecipeOption = "demo",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 chooses a free one.")] = 8765,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    summary: Annotated[bool, typer.Option("--summary", help="Only print how often people and labels agree.")] = False,
) -> None:
    """Review rows by hand in the browser, and see how often you agree with the labels. Ctrl-C ends it."""
    from selftaught_assets.iterations import iteration_key
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.review.answers import read_answers
    from selftaught_assets.review.rows import read_rows
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    layout = Layout.of(loaded)
    if summary:
        print_agreement(layout)
        return
    if kind is None:
        raise UserError("Name what to review: pairs, judgments or instructions; or ask for --summary.")
    if iteration > loaded.iterations:
        raise UserError(f"Recipe {loaded.name} has {loaded.iterations} iterations: there is no iteration {iteration}.")
    try:
        from selftaught_assets.review.service import Review, build_app
    except ImportError as error:
        raise UserError(
            f"`selftaught review` needs the package {error.name}: install selftaught-assets[serve]."
        ) from None

    name, partition = _reviewer(reviewer), iteration_key(iteration)
    rows = read_rows(layout, kind, partition, n=n, seed=seed)
    read_answers(layout, kind)  # A damaged line is named now, not when the page asks.
    _serve(build_app(Review(layout, kind, partition, name, rows)), port, open_page=open_page)
    print_agreement(layout)


def print_agreement(layout: "Layout") -> None:
    """The table of agreement, or a sentence where nobody has answered yet."""
    from selftaught_assets.review.answers import agreement

    rows = agreement(layout)
    if not rows:
        console.print(f"Nobody has reviewed a row of {layout.recipe} yet.", highlight=False, soft_wrap=True)
        return
    table = new_table("reviewed", "iteration", "sure\nanswers", "agree with\nthe label", "95 %\ninterval", "unsure")
    for row in rows:
        figures = percent(row["share"]), interval_text([row["low"], row["high"]])
        table.add_row(row["kind"], row["iteration"], f"{row['n']:,}", *figures, f"{row['unsure']:,}")
    console.print(table)


def _serve(app: "FastAPI", port: int, *, open_page: bool) -> None:
    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"Port {port} is taken: stop what uses it, or name another with --port.") from None
        listening.listen()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        console.print(f"Review at {escape(address)} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        if open_page:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        config.timeout_graceful_shutdown = 3
        with suppress(Stopped):  # uvicorn raises the signal again after it has shut down in order.
            uvicorn.Server(config).run(sockets=[listening])


def _reviewer(given: str | None) -> str:
    if given is None:
        try:
            given = getpass.getuser()
        except (OSError, KeyError):
            raise UserError("This account has no name: give yours with --reviewer.") from None
    name = given.strip()
    if not (0 < len(name) <= 64 and name.isprintable()):
        raise UserError("A reviewer's name has 1 to 64 printable characters: give yours with --reviewer.")
    return name
