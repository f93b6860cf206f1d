"""The command line: `selftaught …`.

Belongs here: commands, their options, and what they print. Not here: how runs are executed and shown (running.py).
"""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selftaught_assets import __version__
from selftaught_assets.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
console = Console()
errors = Console(stderr=True)

RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe's name, or the path of a .yaml file.", show_default=True)
]


def main() -> None:
    """Runs the command line; a user's mistake ends it with one sentence and exit status 1."""
    try:
        app()
    except UserError as error:
        errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None


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
        int | None, typer.Option(min=1, help="How many iterations; all of the recipe by default.")
    ] = None,
) -> None:
    """Materialize a recipe through Dagster, iteration by iteration. What was sampled before is not sampled again."""
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.running import run_recipe

    loaded = load_recipe(recipe)
    if iterations is not None and iterations > loaded.iterations:
        raise UserError(
            f"Recipe {loaded.name} has {loaded.iterations} iterations; raise `iterations` in it to run {iterations}."
        )
    _use_dagster_home()
    run_recipe(recipe, loaded, iterations or loaded.iterations, console)
    _print_results(recipe, benchmark=None)
    console.print(
        "\nLook at every table, check and plot in Dagster: [bold]make ui[/], then http://127.0.0.1:3000", soft_wrap=True
    )


@app.command()
def results(
    recipe: RecipeOption = "demo",
    benchmark: Annotated[str | None, typer.Option(help="One of the recipe's benchmarks; the first by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Print how good the seed and every iteration's judge are."""
    _use_dagster_home()
    if as_json:
        typer.echo(json.dumps(_collect(recipe, benchmark), indent=2))
    else:
        _print_results(recipe, benchmark)


@app.command()
def seed(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the model to.")] = Path("models/seed"),
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer training steps, to try it out.")] = None,
) -> None:
    """Train the seed model of the demo from scratch, as the one in models/seed was."""
    from selftaught_assets.tinyworld.train_seed import train_seed

    if output.exists() and not (output / "config.json").is_file():
        raise UserError(
            f"{output} is there already and holds no model: name a new folder, or that of a model to replace."
        )
    train_seed(output, steps=steps)


def _use_dagster_home() -> None:
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(Path("dagster_home").resolve())))
    if not (home / "dagster.yaml").is_file():
        home.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")


def _collect(recipe: str, benchmark: str | None) -> dict[str, object]:
    import dagster as dg

    from selftaught_assets.assets.family import Family
    from selftaught_assets.assets.progress import collect_results
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout, default_data_root

    loaded = load_recipe(recipe)
    names = [known.name for known in loaded.benchmarks]
    if benchmark is not None and benchmark not in names:
        raise UserError(f"Recipe {loaded.name} has no benchmark {benchmark!r}, only {', '.join(names)}.")
    chosen = benchmark or names[0]
    with dg.DagsterInstance.get() as instance:
        rows = collect_results(instance, Family(loaded, Layout(default_data_root(), loaded.name)), chosen)
    return {"recipe": loaded.name, "benchmark": chosen, "rows": rows}


def _print_results(recipe: str, benchmark: str | None) -> None:
    collected = _collect(recipe, benchmark)
    rows = collected["rows"]
    votes = next(iter(rows[0]["vote_accuracy"]))
    console.print(
        f"\n[bold]{collected['recipe']}[/] on the benchmark [bold]{collected['benchmark']}[/]: "
        f"{rows[0]['n']:,} greedy verdicts of each judge, both orders of {rows[0]['n'] // 2:,} pairs\n",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)  # Fits into 80 columns.
    table.add_column("judge")
    for name in ("accuracy", "95 %\ninterval", "one\nsample", f"vote\nof {votes}", "invalid"):
        table.add_column(name, justify="right")
    for name in ("p vs\nseed", "trained\non", "time"):
        table.add_column(name, justify="right")
    for row in rows:
        low, high = row["interval"]
        table.add_row(
            row["judge"],
            f"{row['accuracy']:.1%}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            f"{row['single_sample_accuracy']:.1%}",
            f"{row['vote_accuracy'][votes]:.1%}",
            f"{row['invalid']:.1%}",
            ""
            if row["p_vs_seed"] is None
            else f"{row['p_vs_seed']:.0e}"
            if row["p_vs_seed"] < 0.001
            else f"{row['p_vs_seed']:.3f}",
            "" if row["kept"] is None else f"{row['kept']:,}",
            "" if row["seconds"] is None else f"{row['seconds']:,.0f} s",
        )
    console.print(table)
