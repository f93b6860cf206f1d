"""The command line: `selftaught …`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.checks import checks
from selftaught_assets.commands.console import RecipeOption, console, errors, make_consoles_lenient, on_this_machine
from selftaught_assets.commands.journal import journal
from selftaught_assets.commands.judge import export, judge, serve
from selftaught_assets.commands.lineage import diff, trace
from selftaught_assets.commands.model import model
from selftaught_assets.commands.project import init, ui
from selftaught_assets.commands.results import compare, print_results, report, results
from selftaught_assets.commands.review import review
from selftaught_assets.commands.run import plan, promote
from selftaught_assets.commands.stopping import Stopped, ignore_signals, keeps_what_was_sampled, stopped_by_signals
from selftaught_assets.errors import UserError, of_the_environment
from selftaught_assets.version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def main() -> None:
    """Runs the command line; a user's mistake ends it with one sentence and exit status 1, a signal with 130 or 143."""
    make_consoles_lenient()
    with stopped_by_signals():
        try:
            app()
        except UserError as error:
            raise _refused(error) from None
        except OSError as error:
            if (refused := of_the_environment(error)) is None:
                raise
            raise _refused(refused) from None
        except Stopped as stopped:
            ignore_signals()
            errors.print(str(stopped), highlight=False, soft_wrap=True)
            raise SystemExit(stopped.status) from None


def _refused(error: UserError) -> SystemExit:
    errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return SystemExit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"selftaught {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def selftaught(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Train an LLM-as-a-judge without human labels (Self-Taught Evaluators, arXiv 2408.02666), on Dagster."""


@app.command()
def run(
    recipe: RecipeOption = "demo",
    iterations: Annotated[
        int | None, typer.Option(min=1, help="How many iterations; all of the recipe's by default.")
    ] = None,
) -> None:
    """Materialize a recipe through Dagster, iteration by iteration. Nothing is sampled twice."""
    from selftaught_assets.commands.running import run_recipe
    from selftaught_assets.recipe import DEFAULT_RECIPE, load_recipe

    loaded = load_recipe(recipe)
    if iterations is not None and iterations > loaded.iterations:
        raise UserError(
            f"Recipe {loaded.name} has {loaded.iterations} iterations; raise `iterations` in it to run {iterations}."
        )
    with keeps_what_was_sampled():
        run_recipe(recipe, loaded, iterations or loaded.iterations, console)
    print_results(recipe, benchmark=None)
    named = "" if recipe == DEFAULT_RECIPE else f" --recipe {shlex.quote(recipe)}"
    console.print(
        f"\nLook at every table, check and plot in Dagster: [bold]selftaught ui{escape(named)}[/]",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"Read the report: [bold]selftaught report --open{escape(named)}[/]", highlight=False, soft_wrap=True)


@app.command()
def seed(
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=on_this_machine, help="Folder to write the model to.")
    ] = Path("models/seed"),
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer training steps, for a trial.")] = None,
) -> None:
    """Train the demo's seed model from scratch, like the one in models/seed."""
    from selftaught_assets.storage.files import require_writable
    from selftaught_assets.tinyworld.train_seed import train_seed

    if output.exists() and not (output / "config.json").is_file():
        raise UserError(
            f"{output} already exists and holds no model: name a new folder, or the folder of a model to replace."
        )
    require_writable(output)
    train_seed(output, steps=steps)


for command in (init, ui, plan, results, report, compare, diff, trace, review, promote, judge, serve, export):
    app.command()(command)
app.add_typer(checks)
app.add_typer(journal)
app.add_typer(model)
