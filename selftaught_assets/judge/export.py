"""A judge as a plain Hugging Face folder with a model card, to take along.

The folder loads with `transformers` or PEFT alone. Beside the usual files it holds the prompts and judge.json, so that
`Judge.load` asks it as it was asked here. The card says what is recorded of the judge, and nothing else.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import yaml

from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key, iteration_number
from selftaught_assets.judge.references import DESCRIPTION, PROMPTS, SEED, Description, FoundJudge, find_judge
from selftaught_assets.method.prompts import TEMPLATE_NAMES
from selftaught_assets.method.scoring.accuracy import compare, score
from selftaught_assets.method.scoring.held_out import without_held_out
from selftaught_assets.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, GENERATION_CONFIG, copy_tokenizer
from selftaught_assets.recipe import JudgeSettings, Recipe
from selftaught_assets.recipe.engines import TransformersSettings
from selftaught_assets.storage.checkpoints import read_manifest
from selftaught_assets.storage.files import folder_written_aside
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, licence_of, reference_model
from selftaught_assets.storage.tables import read_table
from selftaught_assets.version import __version__

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
"""What the hub takes for a licence."""
_MARKUP = re.compile(r"(?<!\w)_|_(?!\w)|[!-+\/:-@\[-^`{-~]")
"""All punctuation of ASCII but what has no meaning within a line, and underscores but those within words."""
_LONGEST_LINE = 2_000


def card(found: FoundJudge, recipe: Recipe, layout: Layout, description: Description, *, merged: bool) -> str:
    """The card as Markdown with its YAML heading.

    Raises:
        UserError: a recorded table is damaged.
    """
    settings, model = found.settings, found.model
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"inline": inline, "code": code}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    licence = licence_of(model.base)
    manifest = None if model.adapter is None else read_manifest(model.adapter)
    single = settings.judgments.form == "single"
    prompt = (settings.templates.score if single else settings.templates.judge).rstrip("\n")
    heading = {
        **_licence_fields(licence),
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["llm-as-a-judge", "self-taught-evaluators"],
    }
    return template.render(
        heading=yaml.safe_dump({key: value for key, value in heading.items() if value}, sort_keys=False),
        name=found.name,
        recipe=recipe,
        settings=settings,
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


def _licence_fields(licence: str | None) -> dict[str, str]:
    """The heading's fields: what is no identifier has a name of its own there, in one line."""
    if licence is None or _IDENTIFIER.fullmatch(licence):
        return {"license": licence} if licence else {}
    return {"license": "other", "license_name": _one_line(licence)}


def inline(text: str) -> str:
    """A text that others chose within a line or a cell of Markdown: what it would mark up is escaped."""
    escaped = _MARKUP.sub(r"\\\g<0>", _one_line(text))
    return escaped.replace("www.", "www\\.")


def code(text: str) -> str:
    """A text that others chose as code within a line of Markdown, whatever backticks it holds."""
    shown = _one_line(text)
    fence = "`" * (1 + _longest_run_of_backticks(shown))
    return f"{fence}{shown}{fence}" if len(fence) == 1 else f"{fence} {shown} {fence}"


def _one_line(text: str) -> str:
    """Without what breaks a line or cannot be seen, and no longer than a line."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "\ufffd" for character in line)
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


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
        elicits = "verdict_without_elicited" in verdicts.columns
        without = score(verdicts.with_columns(verdict="verdict_without_elicited")) if elicits else None
        rows.append({"benchmark": name, "scores": scores, "against_base": test, "without_elicited": without})
    return rows


def _longest_run_of_backticks(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def export_judge(what: str, folder: Path, recipe: Recipe, layout: Layout, *, merge: bool) -> FoundJudge:
    """Writes a judge, its tokenizer, prompts and card into a new folder, whole or not at all.

    Args:
        what: as `find_judge` takes it.
        folder: to appear; an empty one may be there.
        recipe: of the judge.
        layout: where the recipe's checkpoints and evaluations lie.
        merge: write full weights instead of the adapter. A judge without an adapter is always written in full.

    Raises:
        UserError: there is no such judge, the folder is not empty, or the disk is full.
    """
    found = find_judge(what, recipe, layout)
    model = found.model
    in_full = merge or model.adapter is None
    with folder_written_aside(folder) as aside:
        if in_full:
            _write_weights(found.settings, model, aside)
        else:
            _write_adapter(model, aside)
        copy_tokenizer(model.base, aside)
        (aside / PROMPTS).mkdir()
        for name in TEMPLATE_NAMES:
            if (found.settings.prompts / f"{name}.jinja").is_file():
                shutil.copyfile(found.settings.prompts / f"{name}.jinja", aside / PROMPTS / f"{name}.jinja")
        description = _description(found)
        (aside / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(card(found, recipe, layout, description, merged=in_full), encoding="utf-8")
    return found


def _write_weights(settings: JudgeSettings, model: ModelReference, folder: Path) -> None:
    """Merged as the embedded engine merges them, in its dtype, so that the verdicts are the same."""
    from safetensors import SafetensorError
    from transformers import GenerationConfig

    from selftaught_assets.engines.embedded.engine import load_model

    engine = settings.engine if isinstance(settings.engine, TransformersSettings) else TransformersSettings()
    loaded, _ = load_model(engine, model)
    generation = model.base / GENERATION_CONFIG
    if generation.is_file():  # transformers reads defaults that contradict one another, and refuses to write them.
        loaded.generation_config = GenerationConfig()
    try:
        loaded.save_pretrained(folder)
    except SafetensorError as error:
        raise UserError(f"Could not write into {folder.parent}: {error}; free some space and run it again.") from None
    if generation.is_file():
        shutil.copyfile(generation, folder / GENERATION_CONFIG)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # Written for their owner alone.


def _write_adapter(model: ModelReference, folder: Path) -> None:
    shutil.copyfile(model.adapter / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)
    config = json.loads((model.adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(model.base.resolve())
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _description(found: FoundJudge) -> Description:
    model, settings = found.model, found.settings
    base_digest = model.digest if model.adapter is None else reference_model(model.base).digest
    return Description(
        judge=found.name,
        recipe=settings.name,
        digest=model.digest,
        base_digest=base_digest,
        seed=settings.seed,
        form=settings.judgments.form,
        verdicts=settings.verdicts,
        evaluation=settings.evaluation,
        template_date=settings.template_date,
    )
