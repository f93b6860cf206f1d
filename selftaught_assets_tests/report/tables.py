"""Tables of a recipe on disk, made by the method with texts in place of models, some of them hostile.

The first iteration is whole, the second one was stopped after its judgments: it has no examples and no checkpoint.
"""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from selftaught_assets.assets.family import Family
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.checks.tables import first_kept, make_tables, spoil, write_recipe

HOSTILE = (
    "<script>window.pwned = 1</script> \u202egnihton\u202c zero\u200bwidth bell\u0007 line\u2028end tag\U000e0041 "
    '{{ 7 * 7 }} ]]> & \\u003c <b>bold</b> <img src="x" onerror="window.pwned = 1"></script><!--<script>'
)
"""Markup and a script, at both ends; controls, an override of the writing direction, invisible characters, and template
syntax."""

AS_SEEN = (
    "<script>window.pwned = 1</script> ⟨RLO⟩gnihton⟨PDF⟩ zero⟨ZWSP⟩width bell⟨U+0007⟩ line⟨LS⟩end tag⟨U+E0041⟩ "
    '{{ 7 * 7 }} ]]> & \\u003c <b>bold</b> <img src="x" onerror="window.pwned = 1"></script><!--<script>'
)
"""How it reads on the page."""

HOSTILE_COLUMNS = ("instruction", "modified_instruction", "chosen", "rejected")
FIRST, SECOND = "iteration_01", "iteration_02"


class Site(NamedTuple):
    """A recipe with tables on disk."""

    family: Family
    pair_id: str
    """Of the pair whose texts are hostile."""

    def table(self, name: str, iteration: str | None = None) -> pl.DataFrame:
        return pl.read_parquet(self.family.layout.table(name, iteration))


def write_site(folder: Path, *, measured: bool = True) -> Site:
    """Writes the tables; with `measured`, the benchmark's verdicts too, on which both judges agree."""
    recipe = write_recipe(folder)
    layout = Layout(folder / "data", recipe.name)
    tables = make_tables(recipe)
    pair = first_kept(tables["pairs"])
    pair_id = tables["pairs"]["pair_id"][pair]
    tables["pairs"] = spoil(tables["pairs"], pair, **dict.fromkeys(HOSTILE_COLUMNS, HOSTILE))
    of_pair = tables["judgments"]["pair_id"] == pair_id
    tables["judgments"] = spoil(tables["judgments"], of_pair.arg_max(), judgment=HOSTILE)
    instruction = tables["pairs"]["instruction_id"][pair]
    line = (tables["instruction_pool"]["instruction_id"] == instruction).arg_max()
    tables["instruction_pool"] = spoil(tables["instruction_pool"], line, category=HOSTILE, source=HOSTILE)
    later = pl.col("judgment_id").str.reverse()
    second = {
        "instructions": tables["instructions"],
        "pairs": tables["pairs"],
        "judgments": tables["judgments"].with_columns(later, pl.lit("later").alias("judge")),
    }
    for name in ("instructions", "pairs", "judgments", "filtered_set", *(["evaluation"] if measured else [])):
        _write(layout.table(name, FIRST), tables[name])
    for name, frame in second.items():
        _write(layout.table(name, SECOND), frame)
    for name in ("instruction_pool", "benchmarks", *(["seed_evaluation"] if measured else [])):
        _write(layout.table(name), tables[name])
    return Site(Family(recipe, layout), pair_id)


def _write(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
