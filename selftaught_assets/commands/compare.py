"""The command `compare`: which of two judges is better, how surely, and where.

Belongs here: naming two judges, and what is shown of them. Not here: the comparison (method/comparison.py).
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.common import BenchmarkOption, JsonOption, RecipeOption, console, family_of
from selftaught_assets.commands.tables import interval_text, new_table, p_value_text, percent, points, print_published
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from selftaught_assets.assets.family import Family
    from selftaught_assets.method.comparison import Compared, Difference

SHOWN_SUBSETS = 8


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="seed, iteration_01 …, or RECIPE:seed and so on.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The judge that is laid beside A.")],
    recipe: RecipeOption = "demo",
    benchmark: BenchmarkOption = None,
    as_json: JsonOption = False,
    items: Annotated[bool, typer.Option("--items", help="List the pairs won and lost.")] = False,
) -> None:
    """Print whether judge B is better than judge A, by paired tests on the same pairs."""
    from selftaught_assets.method.comparison import compare_judges

    family, name, verdicts_before = _verdicts(before, recipe, benchmark)
    _, _, verdicts_after = _verdicts(after, recipe, name)
    form = next(known.format for known in family.recipe.benchmarks if known.name == name)
    try:
        compared = compare_judges(verdicts_before, verdicts_after, form)
    except ValueError as error:
        raise UserError(str(error)) from None
    if as_json:
        shown = {**compared, "items_won": len(compared["items_won"]), "items_lost": len(compared["items_lost"])}
        lists = {"won": compared["items_won"], "lost": compared["items_lost"]} if items else {}
        typer.echo(json.dumps({"benchmark": name, "a": before, "b": after, **shown, **lists}, indent=2))
    else:
        _print_comparison(before, after, name, compared, items)


def _verdicts(reference: str, recipe: str, benchmark: str | None) -> "tuple[Family, str, pl.DataFrame]":
    """The verdicts of a judge that is named as `seed`, `iteration_01`, or with its recipe before a colon."""
    from selftaught_assets.assets.measured import SEED, on_benchmark, read_verdicts
    from selftaught_assets.iterations import iteration_key

    of_recipe, _, judge = reference.rpartition(":")
    family, name = family_of(of_recipe or recipe, benchmark)
    known = [SEED, *(iteration_key(number) for number in range(1, family.recipe.iterations + 1))]
    if judge not in known:
        raise UserError(f"Recipe {family.recipe.name} has no judge {judge!r}, only {', '.join(known)}.")
    verdicts = on_benchmark(read_verdicts(family, judge), name)
    if verdicts is None or verdicts.is_empty():
        missing = "seed_evaluation" if judge == SEED else f"evaluation of {judge}"
        raise UserError(f"{judge} of recipe {family.recipe.name} is not evaluated on {name}: materialize {missing}.")
    return family, name, verdicts


def _print_comparison(before: str, after: str, benchmark: str, compared: "Compared", items: bool) -> None:
    from selftaught_assets.method.comparison import sentence

    overall = compared["overall"]
    console.print(
        f"\n[bold]{escape(before)}[/] and [bold]{escape(after)}[/] on [bold]{benchmark}[/]: {overall['n']:,} greedy "
        f"verdicts on {compared['items']:,} pairs of {compared['instructions']:,} instructions, in percent\n",
        highlight=False,
    )
    head = ("accuracy", "95 % over\ninstructions", "95 %\nWilson", "invalid\nas half", "both\nright", "invalid")
    table = new_table("judge", *head)
    for name, row in ((before, compared["before"]), (after, compared["after"])):
        shares = (row[column] for column in ("accuracy_invalid_half", "position_consistent", "invalid"))
        intervals = (interval_text(row[column]) for column in ("interval_clustered", "interval"))
        table.add_row(escape(name), percent(row["accuracy"]), *intervals, *map(percent, shares))
    difference = (points(overall["difference"]), " to ".join(map(points, overall["interval"])))
    table.add_row("difference", *difference, "", "", "", "")
    console.print(table)
    console.print(f"\n{sentence(before, after, overall)}", highlight=False, markup=False)
    console.print(
        f"Verdicts gained {overall['gained']:,}, lost {overall['lost']:,}. "
        f"Pairs won {len(compared['items_won']):,}, lost {len(compared['items_lost']):,}.\n",
        highlight=False,
    )
    print_published(
        {
            before: {name: got["before"] for name, got in compared["published"].items()},
            after: {name: got["after"] for name, got in compared["published"].items()},
        }
    )
    _print_subsets(compared["subsets"])
    if items:
        for name, ids in (("won", compared["items_won"]), ("lost", compared["items_lost"])):
            console.print(f"\nPairs {name}: {', '.join(ids) or 'none'}", highlight=False, markup=False)


def _print_subsets(subsets: "dict[str, Difference]") -> None:
    if len(subsets) < 2:
        return
    table = new_table("subset", "verdicts", "difference", "95 % over\ninstructions", "gained", "lost", "p")
    for name, row in list(subsets.items())[:SHOWN_SUBSETS]:
        interval = " to ".join(map(points, row["interval"]))
        counts = (f"{row[column]:,}" for column in ("gained", "lost"))
        table.add_row(
            escape(name),
            f"{row['n']:,}",
            points(row["difference"]),
            interval,
            *counts,
            p_value_text(row["p_clustered"]),
        )
    console.print(table)
    shown = f"{min(SHOWN_SUBSETS, len(subsets))} of {len(subsets)} subsets, the largest differences first"
    console.print(f"{shown}; p-values are not corrected for their number.", highlight=False)
