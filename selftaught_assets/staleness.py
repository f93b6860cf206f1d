"""What a result depends on, and the one comparison that decides whether it is still current.

Every stage records the *basis* of what it made: the version of its code, its settings by content, and the versions of
what it was made of. What it would rest on if it were made now is compared with that record, and the answer is one
sentence or None. `selftaught run`, `selftaught plan`, publication, the checks, lineage and the code versions in
Dagster all come from here; storage/stored.py reads the records.

Names, paths and times are no part of a basis: a copied or moved data folder stays current.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from selftaught_assets.method.identity import digest
from selftaught_assets.recipe import Recipe

SCHEMA_VERSION = 1

TRAINING_CODE = 1
"""Of the path from the filtered set to the weights. Part of every checkpoint's key."""

SAMPLING_CODE = 1
"""Of the path from a rendered prompt to a completion: seeds, drawing, stopping. Part of every journal key."""


class Stage(NamedTuple):
    """What the results of an asset depend on."""

    code: int
    """Raise it when the same inputs can give another result; the golden tests fail until it is raised."""
    settings: tuple[str, ...] = ()
    """Sections of the recipe, or single fields of one (`section.field`)."""
    made_of: tuple[str, ...] = ()
    """Upstream assets."""


_WRITING = ("prompts.response", "prompts.modified_instruction", "prompts.modified_pair")
_JUDGING = ("prompts.judge", "prompts.score", "verdicts")

STAGES: Mapping[str, Stage] = {
    "instruction_pool": Stage(1, ("pool",)),
    "seed_model": Stage(1, ("seed_model",)),
    "benchmarks": Stage(1, ("benchmarks",)),
    "instructions": Stage(1, ("seed", "instructions"), ("instruction_pool",)),
    "pairs": Stage(1, ("seed", "template_date", "pairs", *_WRITING), ("instructions", "seed_model")),
    "judge": Stage(1, ("judgments.first_annotator",), ("seed_model",)),
    "judgments": Stage(1, ("seed", "template_date", "judgments", *_JUDGING), ("pairs", "judge")),
    "filtered_set": Stage(1, ("seed", "filter", *_JUDGING), ("judgments", "pairs")),
    "checkpoint": Stage(TRAINING_CODE, ("seed", "template_date", "training"), ("filtered_set", "seed_model")),
    "evaluation": Stage(
        1,
        ("seed", "template_date", "evaluation", "filter.validation_share", *_JUDGING),
        ("benchmarks", "pairs", "checkpoint"),
    ),
    "seed_evaluation": Stage(1, ("seed", "template_date", "evaluation", *_JUDGING), ("benchmarks", "seed_model")),
    "progress": Stage(1, ("benchmarks", "evaluation"), ("seed_evaluation", "evaluation")),
    "report": Stage(1, ("benchmarks", "evaluation"), ("seed_evaluation", "evaluation")),
}
"""By asset."""

ITERATION = ("instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint", "evaluation")
"""Stages of an iteration, each after those that it is made of."""

GATE = ("promotion.rule", "promotion.validation", "promotion.alpha", "promotion.stop_when_flat")
_GATED = Stage(1, (*GATE, "evaluation", *_JUDGING), ("judge", "benchmarks"))
"""What `checkpoint` depends on as well, where it is compared with the current judge."""

_ELICITING = ("elicit", "closing")
"""Fields of `verdicts` that change nothing while no verdict is elicited."""

_THRESHOLDS = {"pairs": ("min_valid_share",), "filter": ("label_tolerance",)}
"""Fields that only a check reads."""


class Basis(BaseModel):
    """What a result rests on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    code: int
    """Version of the stage's code."""
    settings: dict[str, str]
    """By section or field of the recipe: digest of its content."""
    made_of: dict[str, str | None] = {}
    """By upstream asset: its version, None where it was not there."""

    @property
    def code_version(self) -> str:
        """As Dagster has it: what the stage does, without what it does it to."""
        return digest("basis", self.code, self.settings)[:12]


def stage_of(recipe: Recipe, name: str) -> Stage:
    """What an asset depends on in this recipe."""
    stage = STAGES[name]
    if name == "instruction_pool" and recipe.pool.is_written:
        return Stage(stage.code, (*stage.settings, "seed", "template_date"), ("seed_model",))
    if name != "checkpoint":
        return stage
    more = [_GATED] if recipe.promotion.compares else []
    more += [Stage(0, (), ("judge",))] if recipe.training.start_from == "previous" else []
    for added in more:
        settings, made_of = ((*old, *new) for old, new in zip(stage[1:], added[1:], strict=True))
        stage = Stage(stage.code + added.code, tuple(dict.fromkeys(settings)), tuple(dict.fromkeys(made_of)))
    return stage


def basis_of(recipe: Recipe, name: str, made_of: Mapping[str, str | None] | None = None) -> Basis:
    """What an asset rests on if it is made with this recipe.

    Args:
        recipe: as it is now.
        name: of the asset.
        made_of: versions of what is upstream.
    """
    stage = stage_of(recipe, name)
    settings = {setting: digest(_content(recipe, setting))[:12] for setting in stage.settings}
    return Basis(code=stage.code, settings=settings, made_of=dict(made_of or {}))


def why_stale(name: str, required: Basis, stored: Basis | None) -> str | None:
    """Why what was made is no longer what would be made; None where it is current.

    What is upstream and missing proves nothing: the stage that needs it reports it.

    Args:
        name: of the asset.
        required: what it would rest on now.
        stored: what it was recorded to rest on; None where no record was kept.
    """
    if stored is None:
        return f"{name} was made by a version that did not record what it depends on"
    for setting in dict.fromkeys((*required.settings, *stored.settings)):
        if required.settings.get(setting) != stored.settings.get(setting):
            return f"the recipe changed for {name} (`{setting}`)"
    if required.code != stored.code:
        return f"the code of {name} changed (version {stored.code}, now {required.code})"
    for upstream, version in required.made_of.items():
        if version is not None and version != stored.made_of.get(upstream):
            return f"{upstream} changed after {name} was made of it"
    return None


def _content(recipe: Recipe, setting: str) -> Any:
    """What the recipe says there; a template that the form does not need is None."""
    section, _, field = setting.partition(".")
    value = recipe.contents(section)
    if field:
        return value.get(field)
    if section == "verdicts" and value["elicit"] == "never":
        return {name: known for name, known in value.items() if name not in _ELICITING}
    if section in _THRESHOLDS:
        return {name: known for name, known in value.items() if name not in _THRESHOLDS[section]}
    return value
