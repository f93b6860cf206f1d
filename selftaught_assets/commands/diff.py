"""`selftaught diff`: what differs between two iterations, of one recipe or of two.

Belongs here: naming two iterations, and what is shown of them. Not here: how they are compared (lineage/diff.py).
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from selftaught_assets.commands.common import BenchmarkOption, JsonOption, RecipeOption, console
from selftaught_assets.commands.shown import model_text, visible
from selftaught_assets.commands.tables import new_table, percent

if TYPE_CHECKING:
    from selftaught_assets.lineage.diff import Difference, Side

SHOWN_CHARACTERS = 60
"""Of a setting, such as a prompt template."""
SHOWN_IDS = 3
WIDEST_REASON = 34


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="iteration_01 …, or RECIPE:iteration_01.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The iteration that is laid beside A.")],
    recipe: RecipeOption = "demo",
    benchmark: BenchmarkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what differs between two iterations or recipes: settings, models, rows kept and dropped, accuracy."""
    from selftaught_assets.lineage.diff import diff as compared

    found = compared(_side(a, recipe), _side(b, recipe), benchmark)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(a, b, found)


def _side(reference: str, recipe: str) -> "Side":
    from selftaught_assets.lineage.diff import Side
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    of_recipe, _, iteration = reference.rpartition(":")
    loaded = load_recipe(of_recipe or recipe)
    return Side(Layout.of(loaded), loaded, iteration)


def _print(a: str, b: str, found: "Difference") -> None:
    _say(f"{a} and {b}", bold=True)
    _print_settings(found)
    _print_models(found)
    _print_rows(a, b, found)
    _print_shared(found)
    _print_accuracy(a, b, found)


def _print_settings(found: "Difference") -> None:
    sources = {"tables": "as the tables were made", "recipe": "as the recipe is today"}
    said = " and ".join(dict.fromkeys(sources[source] for source in found["settings_from"]))
    if not found["settings"]:
        _say(f"\nNo setting differs ({said}).")
        return
    _say(f"\nSettings that differ ({said}):")
    for path, values in found["settings"].items():
        _say(f"  {path}: {' → '.join(_short(value) for value in values)}")


def _print_models(found: "Difference") -> None:
    _say("\nModels:")
    for role, both in found["models"].items():
        names = ["none" if model is None else model_text(model) for model in both]
        same = both[0] is not None and both[1] is not None and both[0]["digest"] == both[1]["digest"]
        _say(f"  {role}: {f'{names[0]} in both' if same else ' → '.join(names)}")


def _print_rows(a: str, b: str, found: "Difference") -> None:
    table = new_table("rows", escape(a), escape(b))
    table.columns[0].max_width = WIDEST_REASON
    for asset, both in found["tables"].items():
        table.add_row(asset, *("" if count is None else f"{count['rows']:,}" for count in both))
        table.add_row("  kept", *("" if count is None else f"{count['kept']:,}" for count in both))
        for reason in dict.fromkeys(name for count in both if count for name in count["dropped"]):
            cells = ("" if count is None else f"{count['dropped'].get(reason, 0):,}" for count in both)
            table.add_row(f"  {escape(reason)}", *cells)
    console.print()
    console.print(table)


def _print_shared(found: "Difference") -> None:
    table = new_table("kept rows by id", "in both", "only in A", "only in B")
    for name, shared in found["shared"].items():
        table.add_row(name, *(f"{shared[column]:,}" for column in ("both", "only_a", "only_b")))
    console.print(table)
    for name in ("pairs", "examples"):
        for side in ("a", "b"):
            if ids := found["shared"].get(name, {}).get(f"first_only_{side}"):
                more = ", …" if len(ids) > SHOWN_IDS else ""
                _say(f"{name} only in {side.upper()}: {', '.join(ids[:SHOWN_IDS])}{more}")


def _print_accuracy(a: str, b: str, found: "Difference") -> None:
    from selftaught_assets.method.comparison import sentence

    compared = found["accuracy"]
    if compared is None:
        _say(f"\nNo accuracies to compare: {found['not_compared']}")
        return
    before, after = (percent(compared[name]["accuracy"]) for name in ("before", "after"))
    _say(f"\nAccuracy on {found['benchmark']}: {before} % → {after} % of {compared['overall']['n']:,} greedy verdicts.")
    _say(sentence(a, b, compared["overall"]))


def _say(text: str, *, bold: bool = False) -> None:
    console.print(Text(text, style="bold" if bold else ""), highlight=False, soft_wrap=True)


def _short(value: Any) -> str:
    text = visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
