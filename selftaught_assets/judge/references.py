"""Which model a name or a path means, and how that judge is asked."""

import re
from datetime import date as Date
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from selftaught_assets.errors import UserError, as_clause
from selftaught_assets.input_files import LARGEST_SETTINGS, content_of
from selftaught_assets.iterations import iteration_key
from selftaught_assets.model_files import ADAPTER_CONFIG
from selftaught_assets.recipe import JudgeSettings, Recipe
from selftaught_assets.recipe.engines import TEMPLATE_DATE, TransformersSettings
from selftaught_assets.recipe.fields import Name
from selftaught_assets.recipe.stages import Evaluation, Judgments, Verdicts
from selftaught_assets.storage.checkpoints import (
    current_checkpoint,
    read_manifest,
    read_promotion,
    reference_checkpoint,
)
from selftaught_assets.storage.files import Record, read_record
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, adapter_digest, reference_adapter, reference_model
from selftaught_assets.storage.stored import stale, stored

SEED = "seed"
NEWEST = "newest"
DESCRIPTION = "judge.json"
PROMPTS = "prompts"
WITHOUT_RECIPE = "judge"
"""Under this name lie the completions of a judge that belongs to no recipe."""
_ITERATION = re.compile(r"iteration_[0-9]{2}")


class Description(Record):
    """What an exported folder says of its judge: who it is, and how it is asked. Its prompts lie beside it."""

    judge: str
    """`seed`, `iteration_03`, or the name of a folder."""
    recipe: Name
    digest: str
    """Of the judge that was exported: base and adapter."""
    base_digest: str
    seed: int
    form: Literal["pairwise", "single"] = "pairwise"
    verdicts: Verdicts
    evaluation: Evaluation
    template_date: Date = TEMPLATE_DATE


class FoundJudge(NamedTuple):
    """A judge, not loaded yet."""

    name: str
    model: ModelReference
    settings: JudgeSettings
    """How it is asked: the recipe, or what the exported folder brings instead."""
    caution: str | None = None
    """What its users should know: it was refused, or is stale."""


def find_judge(what: str, recipe: Recipe, layout: Layout) -> FoundJudge:
    """The judge that a user names.

    Args:
        what: `seed`; `iteration_03`, the current checkpoint of that iteration; `newest`, that of the last iteration
            that has one which may judge; or the path of a checkpoint, an adapter, a model or an exported folder.
        recipe: its seed model is the base of checkpoints.
        layout: where the recipe's checkpoints lie.

    Raises:
        UserError: there is no such judge, or its files are damaged.
    """
    if what == SEED:
        return FoundJudge(SEED, reference_model(recipe.seed_model), recipe)
    if what == NEWEST:
        return _newest(recipe, layout)
    if _ITERATION.fullmatch(what):
        return _of_iteration(what, recipe, layout)
    folder = Path(what)
    if not folder.is_dir():
        raise UserError(
            f"There is no judge {what!r}: give `seed`, `newest`, an iteration such as iteration_03, or a folder."
        )
    return judge_in_folder(folder, recipe)


def needs_no_recipe(what: str) -> bool:
    """Whether this names the folder of a model, of an adapter, or of an exported judge. A checkpoint of a recipe is
    none: it does not say where its base model is."""
    by_name = what in (SEED, NEWEST) or _ITERATION.fullmatch(what)
    return not by_name and Path(what).is_dir() and read_manifest(Path(what)) is None


def _newest(recipe: Recipe, layout: Layout) -> FoundJudge:
    """The judge of the last iteration that has one which is not held back; of the last one where all are."""
    keys = [iteration_key(number) for number in range(recipe.iterations, 0, -1)]
    trained = [key for key in keys if current_checkpoint(layout.checkpoints(key)) is not None]
    if not trained:
        raise UserError(
            f"Recipe {recipe.name} has no finished checkpoint in {layout.folder}: run it first "
            f"(selftaught run --recipe {recipe.name}), or name another judge, such as `{SEED}`."
        )
    for key in trained:
        found = _of_iteration(key, recipe, layout)
        if _refusal(key, found.model, recipe, layout) is None:
            return found
    return _of_iteration(trained[0], recipe, layout)


def _of_iteration(key: str, recipe: Recipe, layout: Layout) -> FoundJudge:
    folder = current_checkpoint(layout.checkpoints(key))
    if folder is None:
        raise UserError(
            f"Recipe {recipe.name} has no finished checkpoint of {key} in {layout.folder}: run it first "
            f"(selftaught run --recipe {recipe.name}), or name another judge."
        )
    model = reference_checkpoint(folder, reference_model(recipe.seed_model))
    caution = _refusal(key, model, recipe, layout)
    is_recorded = stored(layout, "checkpoint", key) is not None
    if caution is None and is_recorded and (found := stale(recipe, layout, "checkpoint", key)):
        caution = f"The checkpoint of {key} is stale: {found.reason}."
    return FoundJudge(key, model, recipe, caution)


def _refusal(key: str, model: ModelReference, recipe: Recipe, layout: Layout) -> str | None:
    """That a checkpoint may not judge the next iteration; None where it may."""
    if not recipe.promotion.compares:
        return None
    promotion = read_promotion(layout.promotions(key), model.digest)
    if promotion is None or promotion.may_judge:
        return None
    return (
        f"The checkpoint of {key} was not promoted ({promotion.outcome}): on the benchmark {promotion.benchmark} it "
        f"gained {promotion.gained} and lost {promotion.lost} of {promotion.n} verdicts."
    )


def judge_in_folder(folder: Path, recipe: Recipe | None = None) -> FoundJudge:
    """The judge in the folder of a checkpoint, an adapter, a model or an exported judge.

    Args:
        folder: that exists.
        recipe: how the judge is asked, unless it was exported, and the base of a checkpoint. Without it, a judge is
            asked with the prompts and settings that a recipe has by default.

    Raises:
        UserError: files are missing or damaged.
    """
    name = folder.resolve().name
    if recipe is not None and read_manifest(folder) is not None:
        return FoundJudge(name, reference_checkpoint(folder, reference_model(recipe.seed_model)), recipe)
    description = _read_description(folder)
    if (folder / ADAPTER_CONFIG).is_file():
        model = reference_adapter(folder, otherwise=None if recipe is None else recipe.seed_model)
        if description and adapter_digest(folder, description.base_digest) != description.digest:
            raise UserError(f"The weights in {folder} are not those that were exported: export the judge again.")
        if description and model.digest != description.digest:
            raise UserError(
                f"The adapter {folder} belongs on another base model than {model.base}: correct "
                f"base_model_name_or_path in its {ADAPTER_CONFIG}."
            )
    else:
        model = reference_model(folder)
    if description is not None:
        return FoundJudge(name, model, _as_described(description, folder, recipe))
    return FoundJudge(name, model, recipe or JudgeSettings(name=WITHOUT_RECIPE))


def _read_description(folder: Path) -> Description | None:
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    content = content_of(path, LARGEST_SETTINGS)
    try:
        return read_record(Description, content, path)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path} is damaged ({place}: {as_clause(problem['msg'])}): export the judge again.") from None


def _as_described(description: Description, folder: Path, recipe: Recipe | None) -> JudgeSettings:
    return JudgeSettings(
        name=description.recipe,
        seed=description.seed,
        prompts=folder / PROMPTS,
        template_date=description.template_date,
        engine=TransformersSettings() if recipe is None else recipe.engine,
        judgments=Judgments(form=description.form),
        verdicts=description.verdicts,
        evaluation=description.evaluation,
    )
