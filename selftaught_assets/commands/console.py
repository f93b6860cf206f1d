"""Shared by the commands: consoles, number formats and common options."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from selftaught_assets.errors import UserError, as_clause, reason_of, refused_as, visible
from selftaught_assets.paths import local_path

if TYPE_CHECKING:
    import dagster as dg

    from selftaught_assets.assets.family import Family


ERRORS = "selftaught_assets.substitute"
"""The name of the way in which such characters are encoded."""

_SUBSTITUTES = {ord(character): plain for characters, plain in (
    ("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    ("\u2018\u2019", "'"),
    ("\u201c\u201d\u201e", '"'),
    ("\u00a0\u202f\u2009", " "),
    ("\u2192\u203a\u25b6", ">"),
    ("\u2190\u2039", "<"),
    ("\u2713", "+"),
    ("\u2717\u00d7", "x"),
    ("\u00b7\u2022\u2026", "."),
    ("\u21b5", "|"),
) for character in characters}  # fmt: skip
"""One for one, so that tables stay aligned."""


def make_consoles_lenient() -> None:
    """Lets standard output and standard error show a substitute where they would raise UnicodeEncodeError."""
    codecs.register_error(ERRORS, _substituted)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _substituted(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        _SUBSTITUTES.get(ord(character), "?") for character in error.object[error.start : error.end]
    ), error.end


class SafeConsole(Console):
    """Shows what acts on a terminal, in the names of files and judges too."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The text without such characters, with its markup."""
        return super().render_str(visible(text, lines=True), **options)


console = SafeConsole()
errors = SafeConsole(stderr=True)

RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A recipe's name, or the path of a .yaml file.", show_default=True)
]
BenchmarkOption = Annotated[
    str | None, typer.Option("--benchmark", "-b", help="One of the recipe's benchmarks; the first by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]


def on_this_machine(path: Path | None) -> Path | None:
    """The callback of what names a file or a folder to read or write: UserError if it is an address."""
    return None if path is None else local_path(path)


def use_dagster_home() -> Path:
    """Makes a Dagster instance at DAGSTER_HOME, or in the folder `dagster_home`, unless there is one.

    A relative path, or one that begins with `~`, is made absolute for all that follows: Dagster accepts no other.

    Raises:
        UserError: there can be no instance, or it is an address, or its disk is full.
    """
    from selftaught_assets.storage.files import written_aside

    named = os.environ.get("DAGSTER_HOME") or "dagster_home"
    try:
        home = local_path(named, "DAGSTER_HOME").expanduser().resolve()
        settings = home / "dagster.yaml"
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it may not be written")
        if not settings.exists():
            with written_aside(settings) as aside:
                aside.write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
        settings.read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: there is no such user as in ~user.
        reason = as_clause((isinstance(error, OSError) and error.strerror) or str(error))
        raise UserError(
            f"DAGSTER_HOME is {named!r}, where no Dagster instance can be ({reason}): set it to a writable folder."
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def opened_instance() -> "Iterator[dg.DagsterInstance]":
    """The Dagster instance at DAGSTER_HOME.

    Raises:
        UserError: there can be no instance, its settings or its storage are damaged, or its storage fails later: its
            disk is full, its database is gone or locked.
    """
    import dagster as dg
    import yaml

    from selftaught_assets.recipe.plain_yaml import load_yaml

    home = use_dagster_home()
    try:
        with refused_as("The instance"):  # Storage may be anything that the settings name, and raise anything.
            if not isinstance(load_yaml((home / "dagster.yaml").read_text(encoding="utf-8")) or {}, dict):
                raise yaml.YAMLError("it must be a mapping of settings")
            instance = dg.DagsterInstance.get()
    except UserError as refused:
        error = refused.__cause__
        reason = reason_of(error.__cause__ or error)[:300].rstrip(".")
        remedy = "fix its dagster.yaml, or set DAGSTER_HOME to another folder"
        if "dagster_postgres" in reason:
            remedy = "install selftaught-assets[postgres]"
        elif isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
            remedy = "name the driver, `scheme: postgresql+psycopg2`, in its dagster.yaml"
        raise UserError(f"The Dagster instance at {home} cannot be opened ({reason}): {remedy}.") from None
    with instance:
        try:
            yield instance
        except Exception as error:
            if isinstance(error, UserError) or (reason := _why_storage_failed(error)) is None:
                raise
            raise UserError(
                f"The storage of the Dagster instance at {home} failed ({reason}): see that it has room, can be "
                "written and is not locked, then run the same command again."
            ) from None


def _why_storage_failed(error: BaseException | None) -> str | None:
    """What the database said from which an exception comes; None where it comes from none."""
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, DBAPIError):
            return reason_of(error.orig)[:300].rstrip(".")
        error = error.__cause__ or error.__context__
    return None


def family_of(recipe: str, benchmark: str | None) -> "tuple[Family, str]":
    """The assets of a recipe, and the benchmark that is meant; raises UserError if the recipe has no such benchmark."""
    from selftaught_assets.assets.family import Family
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    names = [known.name for known in loaded.benchmarks]
    if benchmark is not None and benchmark not in names:
        raise UserError(f"Recipe {loaded.name} has no benchmark {benchmark!r}, only {', '.join(names)}.")
    return Family(loaded, Layout.of(loaded)), benchmark or names[0]


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
