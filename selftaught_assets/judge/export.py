"""A judge as a plain Hugging Face folder, to take along.

Belongs here: which files the folder holds. Not here: what its card says (card.py).

An exported folder loads with `transformers` or PEFT alone. Beside the usual files it holds the prompts and judge.json,
so that `Judge.load` asks it as it was asked here.
"""

import json
import shutil
from pathlib import Path

from selftaught_assets.errors import UserError
from selftaught_assets.judge.card import card
from selftaught_assets.judge.references import DESCRIPTION, PROMPTS, Description, FoundJudge, find_judge
from selftaught_assets.method.prompts import TEMPLATE_NAMES
from selftaught_assets.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, GENERATION_CONFIG, copy_tokenizer
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.engines import TransformersSettings
from selftaught_assets.storage.files import folder_written_aside
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, reference_model


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
            _write_weights(found.recipe, model, aside)
        else:
            _write_adapter(model, aside)
        copy_tokenizer(model.base, aside)
        (aside / PROMPTS).mkdir()
        for name in TEMPLATE_NAMES:
            if (found.recipe.prompts / f"{name}.jinja").is_file():
                shutil.copyfile(found.recipe.prompts / f"{name}.jinja", aside / PROMPTS / f"{name}.jinja")
        description = _description(found)
        (aside / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(card(found, layout, description, merged=in_full), encoding="utf-8")
    return found


def _write_weights(recipe: Recipe, model: ModelReference, folder: Path) -> None:
    """Merged as the embedded engine merges them, in its dtype, so that the verdicts are the same."""
    from safetensors import SafetensorError
    from transformers import GenerationConfig

    from selftaught_assets.engines.embedded.engine import load_model

    settings = recipe.engine if isinstance(recipe.engine, TransformersSettings) else TransformersSettings()
    loaded, _ = load_model(settings, model)
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
    model, recipe = found.model, found.recipe
    base_digest = model.digest if model.adapter is None else reference_model(model.base).digest
    return Description(
        judge=found.name,
        recipe=recipe.name,
        digest=model.digest,
        base_digest=base_digest,
        seed=recipe.seed,
        verdicts=recipe.verdicts,
        evaluation=recipe.evaluation,
        template_date=recipe.template_date,
    )
