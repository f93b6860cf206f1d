"""The commands that show how good the judges are: `results`, `compare`, `report`."""

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import (
    BenchmarkOption,
    JsonOption,
    RecipeOption,
    console,
    family_of,
    interval_text,
    new_table,
    on_this_machine,
    opened_instance,
    p_value_text,
    percent,
    points,
    print_published,
)
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from selftaught_assets.assets.family import Family
    from selftaught_assets.method.scoring.comparison import Compared, Difference
    from selftaught_assets.method.scoring.results import ResultRow


def results(recipe: RecipeOption = "demo", benchmark: BenchmarkOption = None, as_json: JsonOption = False) -> None:
    """Print how accurate the seed and every iteration's judge are."""
    if as_json:
        typer.echo(json.dumps(_collect(recipe, benchmark), indent=2))
    else:
        print_results(recipe, benchmark)


def print_results(recipe: str, benchmark: str | None) -> None:
    """The tables of `results`, each within 80 columns."""
    collected = _collect(recipe, benchmark)
    rows: list[ResultRow] = collected["rows"]
    (votes,) = rows[0]["vote_accuracy"]
    single = collected["form"] == "single"
    usable = collected["usable_pairs"]
    of = "" if usable in (None, rows[0]["items"]) else f" of {usable:,}"
    asked = "by the ratings of both responses" if single else "in both orders"
    console.print(
        f"\n[bold]{collected['recipe']}[/] on the benchmark [bold]{collected['benchmark']}[/]: greedy verdicts on "
        f"{rows[0]['items']:,}{of} pairs {asked}, in percent\n",
        highlight=False,
    )
    head = ("accu-\nracy", "95 %\ninterval", "both\nright", "winner\nfirst", "winner\nsecond", "in-\nvalid")
    if collected["promotes"]:
        console.print("This benchmark decided which judges to promote, so its figures favour them.\n", soft_wrap=True)
    table = new_table("judge", *head, f"vote\nof {votes}", "p vs\nseed", "p vs\nbefore")
    for row in rows:
        shares = (percent(row[name]) for name in ("position_consistent", "winner_first", "loser_first", "invalid"))
        p_values = (p_value_text(row[name]) for name in ("p_vs_seed_clustered", "p_vs_previous_clustered"))
        vote = percent(row["vote_accuracy"][votes])
        interval = interval_text(row["interval_clustered"])
        table.add_row(row["judge"], percent(row["accuracy"]), interval, *shares, vote, *p_values)
    console.print(table)
    console.print(
        "\nIntervals and tests (exact sign-flip, two-sided) draw whole instructions: "
        f"{rows[0]['instructions']:,} of them. `--json` has Wilson and McNemar beside them, and every subset.\n",
        highlight=False,
    )
    _print_elicited(rows, votes)
    print_published({row["judge"]: {name: got["value"] for name, got in row["published"].items()} for row in rows})
    pool = f"{votes} votes\nby majority" if single else f"{votes} + {votes} votes\npooled"
    costs = new_table("judge", "one\nsample", pool, "pairs\njudged", "samples\nper right", "trained\non", "time")
    for row in rows:
        pairs, kept = ("" if row[name] is None else f"{row[name]:,}" for name in ("pairs", "kept"))
        samples = row["costs"].get("judgments", {}).get("samples_per_kept")
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,.0f} s"
        sample, pooled = percent(row["single_sample_accuracy"]), percent(row["pooled_vote_accuracy"])
        costs.add_row(row["judge"], sample, pooled, pairs, "" if samples is None else f"{samples:.2f}", kept, seconds)
    console.print(costs)


def _print_elicited(rows: "list[ResultRow]", votes: str) -> None:
    """What the judges are worth by themselves, where the recipe elicits missing verdicts."""
    if rows[0]["elicited_share"] is None:
        return
    head = ("verdicts\nelicited", "accuracy with\nelicited ones", "without\n(invalid)", "95 %\ninterval")
    table = new_table("judge", *head, f"vote of {votes}\nwithout")
    for row in rows:
        with_and_without = (percent(row[name]) for name in ("accuracy", "accuracy_without_elicited"))
        interval = interval_text(row["accuracy_without_elicited_interval_clustered"])
        vote = percent(row["vote_accuracy_without_elicited"])
        table.add_row(row["judge"], percent(row["elicited_share"]), *with_and_without, interval, vote)
    console.print(table)
    console.print()


def _collect(recipe: str, benchmark: str | None) -> dict[str, object]:
    from selftaught_assets.assets.progress import collect_results, usable_pairs

    family, chosen = family_of(recipe, benchmark)
    with opened_instance() as instance:
        rows = collect_results(instance, family, chosen)
    usable = usable_pairs(family, chosen)
    promotion = family.recipe.promotion
    promotes = promotion.compares and chosen == promotion.validation
    form = family.recipe.judgments.form
    named = {"recipe": family.recipe.name, "benchmark": chosen, "usable_pairs": usable}
    return named | {"form": form, "promotes": promotes, "rows": rows}


SHOWN_SUBSETS = 8


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="seed, iteration_01 …, or RECIPE:seed and so on.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The judge to compare with A.")],
    recipe: RecipeOption = "demo",
    benchmark: BenchmarkOption = None,
    as_json: JsonOption = False,
    items: Annotated[bool, typer.Option("--items", help="List the pairs won and lost.")] = False,
) -> None:
    """Print whether judge B is better than judge A, by paired tests on the same pairs."""
    from selftaught_assets.method.scoring.comparison import compare_judges

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
    from selftaught_assets.assets.evaluation import SEED, on_benchmark, read_verdicts
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
    from selftaught_assets.method.scoring.comparison import sentence

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


def report(
    recipe: RecipeOption = "demo",
    opens: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            callback=on_this_machine,
            help="File to write it to; in the data folder by default.",
        ),
    ] = None,
) -> None:
    """Write the report on everything so far: results, data, checks and every judgment, as one HTML page."""
    from selftaught_assets.assets.report import write_report
    from selftaught_assets.storage.files import require_writable

    family, _ = family_of(recipe, None)
    path = (output or family.layout.report).resolve()
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the file to write the report to.")
    require_writable(path)
    with opened_instance() as instance:
        written = write_report(instance, family, path)
    console.print(str(written.path), highlight=False, markup=False, soft_wrap=True)
    if opens and not webbrowser.open(written.path.as_uri()):
        raise UserError(f"No browser was found: open {written.path} in one.")
