"""The commands `trace` and `diff`: where a row comes from, and what differs between two iterations."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from selftaught_assets.commands.console import BenchmarkOption, JsonOption, RecipeOption, console, new_table, percent
from selftaught_assets.errors import visible

if TYPE_CHECKING:
    from selftaught_assets.lineage import Model, Node, Trace
    from selftaught_assets.lineage.diff import Difference, Side


SHORT = 12
"""Digits of a digest that are shown."""


def line(node: "Node", full: bool) -> Text:
    """What is shown of a node: its facts in one line and, below it, what was written, if anything was.

    Args:
        node: of a trace.
        full: the whole text, in its own lines.
    """
    text = Text(overflow="fold" if full else "ellipsis", no_wrap=not full)
    if node["asked"]:
        text.append("▶ ", style="bold magenta")
    text.append(_LINES[node["kind"]](node, node["facts"]), style=_style(node))
    written = node["facts"].get("text")
    if written is not None:
        shown = visible(written, lines=full) if written.strip() else "(empty)"
        text.append("\n" + shown, style="dim")
    return text


def model_text(model: "Model | None") -> str:
    """A model by its role and the beginning of its digest."""
    if model is None:
        return "no judge yet"
    names = {"seed": "the seed model", "checkpoint": f"checkpoint of {model['iteration']}", "unknown": "unknown model"}
    return f"{names[model['role']]} {model['digest'][:SHORT]}"


def sampling_text(sampling: Mapping[str, Any] | None) -> str:
    """Temperature and top-p; nothing where they are not known."""
    if sampling is None:
        return ""
    return f", T {sampling['temperature']:g}, top-p {sampling['top_p']:g}"


def _style(node: "Node") -> str:
    facts = node["facts"]
    if node["asked"]:
        return "bold"
    if node["kind"] == "judgment":
        return "green" if facts["kept"] else ""
    return "yellow" if facts.get("drop_reason") else ""


def _listed(iterations: list[str]) -> str:
    """Several in a row as the first and the last."""
    numbers = [int(iteration.rpartition("_")[2]) for iteration in iterations]
    in_a_row = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return f"{iterations[0]} to {iterations[-1]}" if in_a_row and len(numbers) > 2 else ", ".join(iterations)


def _dropped(facts: Mapping[str, Any]) -> str:
    return f", dropped: {facts['drop_reason']}" if facts["drop_reason"] else ""


def _pool_line(node: "Node", facts: Mapping[str, Any]) -> str:
    if facts["file"] is None:
        return "in no line of the pool"
    category = f", {visible(facts['category'])}" if facts["category"] else ""
    repeated = f", again on {', '.join(map(str, facts['repeated_on']))}" if facts["repeated_on"] else ""
    own_id = f" ({visible(facts['pool_id'])})" if facts["pool_id"] else ""
    return f"{visible(facts['file'])}, line {facts['line']}{own_id}{category}{_dropped(facts)}{repeated}"


def _instruction(node: "Node", facts: Mapping[str, Any]) -> str:
    parts = [f"instruction {node['id']}"]
    if facts["selected_in"]:
        parts.append(f"selected in {_listed(facts['selected_in'])}")
    by_reason: dict[str, list[str]] = {}
    for iteration, reason in facts["not_selected_in"].items():
        by_reason.setdefault(reason, []).append(iteration)
    parts += [f"{reason} in {_listed(iterations)}" for reason, iterations in by_reason.items()]
    return ", ".join(parts)


def _pair(node: "Node", facts: Mapping[str, Any]) -> str:
    there = f", in {_listed(facts['iterations'])}" if facts["iterations"] else ""
    return f"pair {node['id']}{_dropped(facts)}{there}"


def _written(node: "Node", facts: Mapping[str, Any]) -> str:
    what = "modified instruction" if node["kind"] == "modified_instruction" else f"{facts['role']} response"
    finish = f", {facts['finish_reason']}" if facts["finish_reason"] not in (None, "stop") else ""
    return f"{what}, by {model_text(facts['writer'])}{sampling_text(facts['sampling'])}{finish}"


def _judging(node: "Node", facts: Mapping[str, Any]) -> str:
    judged = f": {facts['right']} of {facts['sampled']} right, {facts['kept']} kept" if facts["sampled"] else ""
    return f"{node['iteration']}, by {model_text(facts['judge'])}{judged}{sampling_text(facts['sampling'])}"


def _judgment(node: "Node", facts: Mapping[str, Any]) -> str:
    verdict = f"{facts['verdict']} (elicited)" if facts["elicited"] else facts["verdict"]
    said = "invalid" if verdict is None else f"{verdict}, {'right' if facts['is_correct'] else 'wrong'}"
    place = f"rates the {facts['rated']}" if facts["rated"] else f"chosen at {facts['chosen_position']}"
    outcome = ", KEPT" if facts["kept"] else _dropped(facts)
    finish = "" if facts["finish_reason"] == "stop" else f", {facts['finish_reason']}"
    return f"judgment {node['id']}: {said}{outcome} (sample {facts['sample_index']}, {place}{finish})"


def _example(node: "Node", facts: Mapping[str, Any]) -> str:
    if facts["drop_reason"]:
        return f"example {node['id']}, dropped"  # Why stands at its judgment.
    return f"example {node['id']}, label {facts['label']}, {facts['split']}"


def _training_set(node: "Node", facts: Mapping[str, Any]) -> str:
    name = f"training set {node['id'][:SHORT]}" if node["id"] else "training set"
    if facts["examples"] is None:
        return f"{name}, not trained on yet"
    return f"{name}: {facts['examples']:,} examples, {facts['validation_examples']:,} held out"


def _checkpoint(node: "Node", facts: Mapping[str, Any]) -> str:
    losses = f"loss {facts['train_loss']:.3f}"
    if facts["validation_loss"] is not None:
        losses += f", validation {facts['validation_loss']:.3f}"
    older = "" if facts["current"] else ", not the current one"
    return f"checkpoint {node['id'][:SHORT]} of {node['iteration']}, {losses}{older}"


def _evaluation(node: "Node", facts: Mapping[str, Any]) -> str:
    low, high = (f"{100 * end:.1f}" for end in facts["interval"])
    accuracy = f"{100 * facts['accuracy']:.1f} % ({low}–{high})"
    return f"{visible(facts['benchmark'])}: {accuracy} of {facts['n']:,} verdicts right"


def _judge(node: "Node", facts: Mapping[str, Any]) -> str:
    text = f"judges {node['iteration']}"
    if facts["judgments"] is not None:
        text += f": {facts['right']:,} of {facts['judgments']:,} judgments right"
    if facts["examples"] is not None:
        text += f", {facts['examples']:,} examples kept"
    return text + (f", trained checkpoint {facts['checkpoint'][:SHORT]}" if facts["checkpoint"] else "")


def _item(node: "Node", facts: Mapping[str, Any]) -> str:
    where = f" in {visible(facts['source'])}" if facts["source"] else ""
    subset = f", {visible(facts['subset'])}" if facts["subset"] else ""
    name = f"{facts['benchmark']}/{node['id']}"
    return f"item {visible(name)}{subset}, label {facts['label']}{where}{_dropped(facts)}"


def _verdict(node: "Node", facts: Mapping[str, Any]) -> str:
    said = "invalid" if facts["verdict"] is None else facts["verdict"]
    votes = "" if facts["decoding"] == "greedy" else f" ({facts['votes_a']} A, {facts['votes_b']} B)"
    right = "right" if facts["right"] else "wrong"
    asked = f"{visible(facts['benchmark'])} {facts['order']} {facts['decoding']}"
    return f"{asked}: {said}, {right}{votes}, by {model_text(facts['judge'])}"


def _model(node: "Node", facts: Mapping[str, Any]) -> str:
    where = f" in {visible(facts['path'])}" if facts["path"] else ""
    return f"{model_text(facts)}{where}"


_LINES: dict[str, Callable[["Node", Mapping[str, Any]], str]] = {
    "pool_line": _pool_line,
    "instruction": _instruction,
    "pair": _pair,
    "modified_instruction": _written,
    "response": _written,
    "judging": _judging,
    "judgment": _judgment,
    "example": _example,
    "training_set": _training_set,
    "checkpoint": _checkpoint,
    "evaluation": _evaluation,
    "judge": _judge,
    "item": _item,
    "verdict": _verdict,
    "model": _model,
}


def trace(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of an instruction, pair, judgment, example or benchmark item, the digest of a judge or checkpoint, "
            "or at least four characters from its beginning.",
        ),
    ],
    down: Annotated[bool, typer.Option("--down", help="What was made from it, not where it comes from.")] = False,
    iteration: Annotated[str | None, typer.Option("--iteration", "-i", help="Only what belongs to it.")] = None,
    recipe: RecipeOption = "demo",
    full: Annotated[bool, typer.Option("--full", help="Full texts, instead of one line of each.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print where a row comes from: pool, instruction, pair, judgments, checkpoint, and which models wrote the
    texts."""
    from selftaught_assets.lineage import trace as traced
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    loaded = load_recipe(recipe)
    answer = traced(Layout.of(loaded), loaded, id, down=down, iteration=iteration)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print(answer, full)


def _print(answer: "Trace", full: bool) -> None:
    for top in answer["trees"]:
        tree = Tree(line(top, full), guide_style="dim")
        _add(tree, top["children"], full)
        console.print(tree, highlight=False)
    for problem in answer["problems"]:
        console.print(Text(f"! {visible(problem)}", style="yellow"), highlight=False, soft_wrap=True)
    if full:
        _print_tables(answer)


def _add(tree: Tree, nodes: "list[Node]", full: bool) -> None:
    for node in nodes:
        _add(tree.add(line(node, full)), node["children"], full)


def _print_tables(answer: "Trace") -> None:
    """How the tables were made that the answer was read from."""
    for table in answer["tables"]:
        name = table["asset"] if table["iteration"] is None else f"{table['asset']} of {table['iteration']}"
        if table["run_id"] is None:
            said = "does not say how it was made"
        else:
            said = (
                f"version {table['data_version']}, made at {table['made_at'][:19]} by run {table['run_id']}, "
                f"code version {table['code_version']}"
            )
        console.print(Text(f"{name}: {said}", style="dim"), highlight=False, soft_wrap=True)


SHOWN_CHARACTERS = 60
"""Of a setting, such as a prompt template."""
SHOWN_IDS = 3
WIDEST_REASON = 34


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="iteration_01 …, or RECIPE:iteration_01.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The iteration to compare with A.")],
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
        _print_diff(a, b, found)


def _side(reference: str, recipe: str) -> "Side":
    from selftaught_assets.lineage.diff import Side
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    of_recipe, _, iteration = reference.rpartition(":")
    loaded = load_recipe(of_recipe or recipe)
    return Side(Layout.of(loaded), loaded, iteration)


def _print_diff(a: str, b: str, found: "Difference") -> None:
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
    from selftaught_assets.method.scoring.comparison import sentence

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
