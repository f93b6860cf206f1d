"""The model card of an exported judge: what is recorded of it, and nothing else.

Belongs here: collecting the facts from tables and manifests, and the card's text (card.md.jinja). Not here: measuring.
"""

import json
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import yaml

from selftaught_assets import __version__
from selftaught_assets.iterations import iteration_key, iteration_number
from selftaught_assets.judge.references import SEED, Description, FoundJudge
from selftaught_assets.method.held_out import without_held_out
from selftaught_assets.method.scores import compare, score
from selftaught_assets.storage.checkpoints import read_manifest
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_table

_TEMPLATE = Path(__file__).with_name("card.md.jinja")


def card(found: FoundJudge, layout: Layout, description: Description, *, merged: bool) -> str:
    """The card as Markdown with its YAML heading.

    Raises:
        UserError: a recorded table is damaged.
    """
    recipe, model = found.recipe, found.model
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    licence = _licence(model.base)
    manifest = None if model.adapter is None else read_manifest(model.adapter)
    single = recipe.judgments.form == "single"
    prompt = (recipe.templates.score if single else recipe.templates.judge).rstrip("\n")
    heading = {
        "license": licence,
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["llm-as-a-judge", "self-taught-evaluators"],
    }
    return template.render(
        heading=yaml.safe_dump({key: value for key, value in heading.items() if value}, sort_keys=False),
        name=found.name,
        recipe=recipe,
        description=description,
        merged=merged,
        adapted=model.adapter is not None,
        base=model.base.name,
        licence=licence,
        manifest=manifest,
        training=json.dumps(manifest.training) if manifest else None,
        data=_data(found, layout),
        results=_results(found, layout),
        prompt=prompt,
        single=single,
        fence="`" * max(3, 1 + _longest_run_of_backticks(prompt)),
        version=__version__,
    )


def _licence(base: Path) -> str | None:
    """The licence that the base model's own card states."""
    path = base / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.startswith("---\n"):
        return None
    try:
        heading = yaml.safe_load(text.removeprefix("---\n").partition("\n---")[0])
    except yaml.YAMLError:
        return None
    licence = heading.get("license") if isinstance(heading, dict) else None
    return licence if isinstance(licence, str) else None


def _data(found: FoundJudge, layout: Layout) -> list[dict[str, Any]]:
    """Rows of the tables of this judge's iteration and of those before it."""
    if not found.name.startswith("iteration_"):
        return []
    rows = []
    for number in range(1, iteration_number(found.name) + 1):
        key = iteration_key(number)
        pairs, examples = (read_table(layout.table(name, key)) for name in ("pairs", "filtered_set"))
        if pairs is None or examples is None:
            continue
        kept = examples.filter(pl.col("drop_reason").is_null())
        rows.append(
            {
                "iteration": key,
                "pairs": pairs.filter(pl.col("drop_reason").is_null()).height,
                "train": kept.filter(pl.col("split") == "train").height,
                "validation": kept.filter(pl.col("split") == "validation").height,
            }
        )
    return rows


def _results(found: FoundJudge, layout: Layout) -> list[dict[str, Any]]:
    """The recorded greedy verdicts of exactly these weights, one row for each benchmark."""
    seed = read_table(layout.table("seed_evaluation"))
    if found.name == SEED:
        table = seed
    elif found.name.startswith("iteration_"):
        table = read_table(layout.table("evaluation", found.name))
    else:
        table = None
    if table is None:
        return []
    greedy = without_held_out(table).filter((pl.col("judge") == found.model.digest) & (pl.col("decoding") == "greedy"))
    rows = []
    for (name,), verdicts in greedy.group_by("benchmark", maintain_order=True):
        scores = score(verdicts)
        before = None
        if seed is not None and found.name != SEED:
            before = seed.filter((pl.col("decoding") == "greedy") & (pl.col("benchmark") == name))
        try:
            test = None if before is None else compare(before, verdicts)
        except ValueError:
            test = None  # The seed was measured on other pairs.
        rows.append({"benchmark": name, "scores": scores, "against_base": test})
    return rows


def _longest_run_of_backticks(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
