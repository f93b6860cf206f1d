"""Which model a name or a path means, and how that judge is asked.

Belongs here: from `seed`, `iteration_03` or a folder to a model reference and a recipe. Not here: loading the model.
"""

import re
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught_assets.errors import UserError
from selftaught_assets.recipe import Recipe
from selftaught_assets.recipe.stages import Evaluation, Verdicts
from selftaught_assets.storage.checkpoints import newest_checkpoint, read_manifest, reference_checkpoint
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import (
    ADAPTER_CONFIG,
    ModelReference,
    adapter_digest,
    reference_adapter,
    reference_model,
)

SEED = "seed"
DESCRIPTION = "judge.json"
PROMPTS = "prompts"
_ITERATION = re.compile(r"iteration_[0-9]{2}")


class Description(BaseModel):
    """What an exported folder says of its judge: who it is, and how it is asked. Its prompts lie beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    """`seed`, `iteration_03`, or the name of a folder."""
    recipe: str
    digest: str
    """Of the judge that was exported: base and adapter."""
    base_digest: str
    seed: int
    verdicts: Verdicts
    evaluation: Evaluation


class FoundJudge(NamedTuple):
    """A judge, not loaded yet."""

    name: str
    model: ModelReference
    recipe: Recipe
    """How it is asked: the recipe, or what the exported folder brings in its place."""


def find_judge(what: str, recipe: Recipe, layout: Layout) -> FoundJudge:
    """The judge that a user names.

    Args:
        what: `seed`; `iteration_03`, the newest finished checkpoint of that iteration; or the path of a checkpoint, an
            adapter, a model folder or an exported folder.
        recipe: its seed model is the base of checkpoints.
        layout: where the recipe's checkpoints lie.

    Raises:
        UserError: there is no such judge, or its files are damaged.
    """
    if what == SEED:
        return FoundJudge(SEED, reference_model(recipe.seed_model), recipe)
    if _ITERATION.fullmatch(what):
        folder = newest_checkpoint(layout.checkpoints(what))
        if folder is None:
            raise UserError(
                f"Recipe {recipe.name} has no finished checkpoint of {what} in {layout.folder}: run it first "
                f"(selftaught run --recipe {recipe.name}), or name another judge."
            )
        return FoundJudge(what, reference_checkpoint(folder, reference_model(recipe.seed_model)), recipe)
    folder = Path(what)
    if not folder.is_dir():
        raise UserError(f"There is no judge {what!r}: give `seed`, an iteration such as iteration_03, or a folder.")
    return _in_folder(folder, recipe)


def _in_folder(folder: Path, recipe: Recipe) -> FoundJudge:
    name = folder.resolve().name
    if read_manifest(folder) is not None:
        return FoundJudge(name, reference_checkpoint(folder, reference_model(recipe.seed_model)), recipe)
    description = _read_description(folder)
    if (folder / ADAPTER_CONFIG).is_file():
        model = reference_adapter(folder, otherwise=recipe.seed_model)
        if description and adapter_digest(folder, description.base_digest) != description.digest:
            raise UserError(f"The weights in {folder} are not those that were exported: export the judge again.")
        if description and model.digest != description.digest:
            raise UserError(
                f"The adapter {folder} belongs on another base model than {model.base}: correct "
                f"base_model_name_or_path in its {ADAPTER_CONFIG}."
            )
    else:
        model = reference_model(folder)
    return FoundJudge(name, model, _asked_as_described(recipe, description, folder) if description else recipe)


def _read_description(folder: Path) -> Description | None:
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        return Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path} is damaged ({place}: {problem['msg'].lower()}): export the judge again.") from None


def _asked_as_described(recipe: Recipe, description: Description, folder: Path) -> Recipe:
    """A recipe in which only the asking counts: its benchmarks may want verdicts that this judge cannot give."""
    own = {name: getattr(description, name) for name in ("seed", "verdicts", "evaluation")}
    return Recipe.model_construct(**{**dict(recipe), **own, "prompts": folder / PROMPTS})
