"""Tables in the terminal, none wider than 80 columns.

Belongs here: how figures are written and laid out. Not here: which ones (each command).
"""

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from selftaught_assets.commands.common import console

SHOWN_PUBLISHED = 6
"""Columns of published scores in one table."""


def new_table(first: str, *others: str) -> Table:
    """A table with one column of names and others of figures, as narrow as its cells."""
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column(first, max_width=24, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def percent(share: float | None) -> str:
    """A share in percent, without the sign; nothing for None."""
    return "" if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * difference:+.1f}"


def interval_text(interval: list[float]) -> str:
    """An interval of a share in percent."""
    return "–".join(f"{100 * end:.1f}" for end in interval)


def p_value_text(p_value: float | None) -> str:
    """A p-value in a table; nothing for None."""
    if p_value is None:
        return ""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.0e}"


def print_published(scores: dict[str, dict[str, float]]) -> None:
    """The benchmark's own scores, six to a table: rows are judges."""
    names = list(next(iter(scores.values())))
    for start in range(0, len(names), SHOWN_PUBLISHED):
        part = names[start : start + SHOWN_PUBLISHED]
        table = new_table("judge", *(name.replace("_", "\n") for name in part))
        for judge, values in scores.items():
            table.add_row(escape(judge), *(percent(values.get(name)) for name in part))
        console.print(table)
        console.print()
