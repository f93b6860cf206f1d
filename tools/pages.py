"""What is generated in README.md and the pages of docs/, so that none of it can be stale.

Cog calls these functions from blocks in the pages: `make docs` writes what they return into the pages, and a test fails
where a page says anything else. The reference comes from the command line, the recipe's models, the check suites and
the types of the results; figures come from recorded results.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click

from selftaught_assets.cli import app
from selftaught_assets.method.costs import ACCOUNT
from selftaught_assets.method.scoring.accuracy import Scores
from selftaught_assets.method.scoring.results import ResultRow, SubsetRow
from selftaught_assets.recipe import PROMPTS_FOLDER, Recipe, load_recipe
from selftaught_assets.recipe.engines import SamplingParameters

AS_FAR_AS_TOLD = ", as far as its interval of 95 % tells"
"""In the claim of every rule that warns about a number; the page says it once."""
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def show(text: str) -> None:
    """Puts a text where a block stands, apart from the lines around it."""
    print(f"\n{text}\n")


# --- The reference ----------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and options, as Typer describes them."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="selftaught")
    said = get_docs_for_click(obj=group, ctx=context, name="selftaught")
    said = said[said.index("## `selftaught run`") :]
    said = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n?", "", said)  # Cut short, and each of them follows.
    said = re.sub(r"\* `--help`.*\n", "", said).replace("**Options**:\n\n\n", "")
    said = re.sub(r"```console\n\$ ", "```text\n", said)
    return re.sub(r"\n{3,}", "\n\n", said).strip()


def recipe() -> str:
    """Every section of a recipe, with the type, the default, the limits and the meaning of its fields."""
    return "\n\n".join(_section(title, model) for title, model in _sections(Recipe, ""))


def checks() -> str:
    """Every check of the demo, by asset, with what it demands and how grave a failure is."""
    from selftaught_assets.checks.suites import declared_suites

    by_asset: dict[str, list[str]] = {}
    for suite in declared_suites(load_recipe("demo")):
        lines = [f"**`{suite.name}`**: {suite.purpose}", ""]
        for rule in suite.rules:
            severity = "ERROR" if rule.severity == "critical" else "WARN"
            lines.append(f"- {severity} `{rule.name}`: {rule.claim.replace(AS_FAR_AS_TOLD, '')}")
        by_asset.setdefault(suite.asset, []).append("\n".join(lines))
    return "\n\n".join("\n\n".join([f"## {asset}", *suites]) for asset, suites in by_asset.items())


def result_row() -> str:
    """The keys of one judge in `selftaught results --json`."""
    return _keys(ResultRow, [name for name in ResultRow.__annotations__ if name not in SubsetRow.__annotations__])


def subset_row() -> str:
    """The keys that a judge and each of its subsets have."""
    return _keys(SubsetRow, list(SubsetRow.__annotations__))


def account() -> str:
    """The names in the account of a sampling stage."""
    return ", ".join(f"`{name}`" for name in ACCOUNT)


# --- Figures ----------------------------------------------------------------------------------------------------------


def result_table() -> str:
    """The judges of the demo and the last one of its control, as recorded."""
    demo, control = (_recorded(name) for name in ("demo", "demo_unfiltered"))
    rows = [(row["judge"], row) for row in demo] + [(f"control: {control[-1]['judge']}", control[-1])]
    head = ("judge", "accuracy", "95 % interval", "right in both orders", "one sample", "vote of 8", "p vs seed")
    cells = [
        (
            name,
            percent(row["accuracy"]),
            " to ".join(map(percent, row["interval_clustered"])),
            percent(row["position_consistent"]),
            percent(row["single_sample_accuracy"]),
            percent(row["vote_accuracy"]["8"]),
            p_value(row["p_vs_seed_clustered"]),
            "" if row["kept"] is None else f"{row['kept']:,}",
        )
        for name, row in rows
    ]
    return table((*head, "trained on"), cells)


def steps() -> str:
    """The tests of each iteration of the demo against the one before."""
    _, first, *later = _recorded("demo")
    told = []
    for before, after in zip([first, *later], later, strict=False):
        told.append(f"from {before['judge']} to {after['judge']} p = {p_value(after['p_vs_previous_clustered'])}")
    return f"Later steps by the same test: {', '.join(told)}."


EARLIER = {
    "demo, seed 1, by ids of an earlier version": "74.4 94.1 95.3 95.0 94.9",
    "demo, seed 1, all 8 judgments": "74.4 89.9 94.9 95.7 95.3",
    "demo, seed 2, all 8 judgments": "74.4 87.9 94.0 95.2 94.3",
    "demo, seed 3, all 8 judgments": "74.4 93.2 95.0 94.5 94.9",
    "demo_unfiltered, by ids of an earlier version": "74.4 72.4 72.4 74.1 80.5",
}
"""Accuracies of runs that docs/log.md tells of, as `runs` shows them."""


def runs() -> str:
    """The accuracies of all runs of the demo, in percent."""
    lines = {}
    for title, name in (("demo, seed 1", "demo"), ("demo_unfiltered, the control", "demo_unfiltered")):
        rows = _recorded(name)
        shares = [*(row["accuracy"] for row in rows), rows[-1]["vote_accuracy"]["8"]]
        lines[title] = " ".join(f"{100 * share:.1f}" for share in shares)
    cells = [(title, *accuracies.split()) for title, accuracies in (lines | EARLIER).items()]
    return table(("", "seed", "1", "2", "3", "3, vote of 8"), cells)


AGAINST = {
    "sampling_transformers": ("`generate`, 64 rows", "≥ 4"),
    "sampling_transformers_long": ("`generate`, 64 rows", "≥ 6"),
    "sampling_vllm": ("`LLM.generate`", "≤ 1.05"),
    "embedded_vs_vllm": ("vLLM, bfloat16", "≥ 2"),
    "samples_per_kept": ("all 15", "≥ 8"),
    "vote_32": ("all 32, same verdicts", "≤ 0.75"),
    "journal_index": ("the limit", "≤ 1"),
    "judgments_memory": ("the limit", "≤ 1"),
    "judgments_begin": ("the limit", "≤ 1"),
    "data_plane": ("the limit", "≤ 1"),
    "data_plane_growth": ("a tenth of the rows", "≤ 11"),
    "pipeline_null": ("distilabel 1.5.3", "≥ 3"),
    "service_20": ("offline, all at once", "≥ 0.8"),
    "service_20_width": ("offline, 20 at a time", ""),
    "service_20_p50": ("offline, 20 at a time", ""),
    "service_20_p99": ("offline, 20 at a time", ""),
    "service_1_width": ("offline, 1 at a time", ""),
    "service_1_p50": ("offline, 1 at a time", ""),
    "service_1_p99": ("offline, 1 at a time", ""),
    "trace": ("the limit", "≤ 1"),
    "trace_hundredth": ("the limit", "≤ 1"),
    "overhead": ("the whole iteration", "≤ 0.15"),
    "resume": ("the first time", "≤ 0.05"),
}
"""What each benchmark is compared with, and what its ratio should be."""


def benchmark_table() -> str:
    """The benchmarks of `make bench`, as recorded."""
    found = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
    rows = []
    for name, (baseline, target) in AGAINST.items():
        if (one := found.get(name)) is None:  # Not run on a quiet machine yet.
            continue
        ours, other = (f"{_figure(one[side])} {one['unit']}" for side in ("value", "baseline"))
        rows.append((name, ours, f"{baseline}: {other}", f"{one['ratio']:g}", target, f"{one['n']:,}"))
    return table(("name", "ours", "compared with", "ratio", "target", "n"), rows)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def p_value(p: float | None) -> str:
    return "" if p is None else f"{p:.2f}" if p >= 0.01 else f"{p:.0e}".replace("e-0", "e-")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


# --- From types to words ----------------------------------------------------------------------------------------------


def _sections(model: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and those of its fields, each once, with the title that it has on the page."""
    seen: set[type[BaseModel]] = set()

    def walk(model: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
        if model not in seen:
            seen.add(model)
            yield _title(model, place), model
            for name, field in model.model_fields.items():
                for part in _models(field):
                    yield from walk(part, f"{place}: {name}" if place else name)

    yield from walk(model, place)


def _title(model: type[BaseModel], place: str) -> str:
    if model is Recipe:
        return "The recipe"
    if model is SamplingParameters:
        return "sampling parameters"
    name = model.model_fields.get("name")
    choices = () if name is None else get_args(name.annotation)
    return f"engine: {choices[0]}" if choices else place


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    """The sections that a field can hold."""

    def within(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for part in get_args(annotation):
            yield from within(part)

    return list(dict.fromkeys(within(field.annotation)))


def _section(title: str, model: type[BaseModel]) -> str:
    schema = Recipe.model_json_schema()
    properties = (schema if model is Recipe else schema["$defs"][model.__name__])["properties"]
    said = described(model)
    rows = [
        (f"`{name}`", _type(properties[name], model, field), _default(field), said.get(name, ""))
        for name, field in model.model_fields.items()
    ]
    return f"## {title}\n\n{_one_line(inspect.getdoc(model) or '')}\n\n{table(('field', 'type', 'default', ''), rows)}"


def _type(schema: dict[str, Any], model: type[BaseModel], field: FieldInfo) -> str:
    if parts := _models(field):
        titles = {part: title for title, part in _sections(Recipe, "")}
        links = [f"[{titles[part]}](#{_anchor(titles[part])})" for part in parts]
        if "array" in (schema.get("type"), *(part.get("type") for part in schema.get("anyOf", ()))):
            return f"list of {links[0]}"
        if "additionalProperties" in schema:
            names = schema["propertyNames"]["enum"]
            return f"mapping from {_choice(names)} to {links[0]}"
        return ", ".join(links[:-1]) + (" or " if links[:-1] else "") + links[-1]
    return _plain_type(schema)


def _plain_type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_plain_type(part) for part in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return _choice(schema["enum"])
    if schema["type"] == "array":
        return f"list of {_plain_type(schema['items'])}"
    if schema["type"] == "object":
        keys = schema.get("propertyNames", {}).get("enum")
        held = schema.get("patternProperties", {"": schema.get("additionalProperties")})
        return f"mapping from {_choice(keys) if keys else 'text'} to {_plain_type(next(iter(held.values())))}"
    names = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
    name = names.get(schema["type"], schema["type"])
    name = {"path": "path", "date": "date"}.get(schema.get("format", ""), name)
    limits = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return ", ".join([name, *limits, *([f"`{schema['pattern']}`"] if "pattern" in schema else [])])


def _choice(values: Sequence[object]) -> str:
    *others, last = [f"`{value}`" for value in values]
    return f"{', '.join(others)} or {last}" if others else last


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value == PROMPTS_FOLDER:
        return "the shipped prompts"
    if isinstance(value, BaseModel):
        return "`transformers`" if getattr(value, "name", "") == "transformers" else "its defaults"
    written = json.dumps(list(value) if isinstance(value, tuple) else value, default=str).strip('"')
    return f"`{written}`"


def _keys(kind: type, names: Sequence[str]) -> str:
    said = described(Scores) | described(kind)
    types = get_type_hints(kind)
    words = {int: "count", float: "number", str: "text"}

    def type_of(annotation: Any) -> str:
        if annotation in words:
            return words[annotation]
        if annotation is list[float] or getattr(annotation, "__origin__", None) is list:
            return "[low, high]"
        if getattr(annotation, "__origin__", None) is dict:
            return "object"
        return " or ".join("null" if part is type(None) else type_of(part) for part in get_args(annotation))

    return table(("key", "value", ""), [(f"`{name}`", type_of(types[name]), said[name]) for name in names])


@cache
def described(kind: type) -> dict[str, str]:
    """What the strings below the fields of a class, and of those that it inherits from, say: one line each."""
    said = {}
    for base in reversed(getattr(kind, "__orig_bases__", kind.__bases__)):
        if base.__module__.startswith("selftaught_assets"):
            said |= described(base)
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            said[field.target.id] = _one_line(inspect.cleandoc(below.value.value))
    return said


def _one_line(text: str) -> str:
    """In Markdown, with what would be markup outside of code spans escaped."""
    parts = re.split("(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in parts)


def _anchor(title: str) -> str:
    """As both git hosts and mkdocs make it of a heading."""
    return re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-")


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:,.2f}"


def _recorded(name: str) -> list[dict[str, Any]]:
    """The rows that `selftaught results --recipe NAME --json` printed once."""
    return json.loads((BENCHMARKS / "recorded" / f"{name}.json").read_text(encoding="utf-8"))["rows"]
