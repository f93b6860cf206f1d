"""The command `results`: how good the seed and every iteration's judge are.

Belongs here: what is shown of it, and in which columns. Not here: how it is computed (method/results.py).
"""

import json
from typing import TYPE_CHECKING

import typer

from selftaught_assets.commands.common import (
    BenchmarkOption,
    JsonOption,
    RecipeOption,
    console,
    family_of,
    opened_instance,
)
from selftaught_assets.commands.tables import interval_text, new_table, p_value_text, percent, print_published

if TYPE_CHECKING:
    from selftaught_assets.method.results import ResultRow


def results(recipe: RecipeOption = "demo", benchmark: BenchmarkOption = None, as_json: JsonOption = False) -> None:
    """Print how good the seed and every iteration's judge are."""
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
    asked = "by the ratings of both responses" if single else "in both orders"
    console.print(
        f"\n[bold]{collected['recipe']}[/] on the benchmark [bold]{collected['benchmark']}[/]: greedy verdicts on "
        f"{rows[0]['items']:,} pairs {asked}, in percent\n",
        highlight=False,
    )
    head = ("accu-\nracy", "95 %\ninterval", "both\nright", "winner\nfirst", "winner\nsecond", "in-\nvalid")
    if collected["promotes"]:
        console.print("Judges were promoted by this benchmark, so its figures favour them.\n", soft_wrap=True)
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


def _collect(recipe: str, benchmark: str | None) -> dict[str, object]:
    from selftaught_assets.assets.progress import collect_results

    family, chosen = family_of(recipe, benchmark)
    with opened_instance() as instance:
        rows = collect_results(instance, family, chosen)
    handover = family.recipe.handover
    promotes = handover.compares and chosen == handover.validation
    form = family.recipe.judgments.form
    return {"recipe": family.recipe.name, "benchmark": chosen, "form": form, "promotes": promotes, "rows": rows}
