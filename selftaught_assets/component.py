"""The component of Dagster that trains a judge: its attributes are a recipe, its definitions the recipe's assets.

A project may have several, each in a file defs.yaml. They stand apart, since everything that has a name in Dagster is
named after the key prefix of the recipe: assets, groups, jobs, sensors and steps. So is the folder of the data.
"""

import functools
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.resolved.scopes import LoadContextScope
from pydantic import BaseModel, ConfigDict
from upath import UPath

from selftaught_assets.assets.checks import build_checks
from selftaught_assets.assets.evaluation import build_evaluation, build_seed_evaluation
from selftaught_assets.assets.family import TABLES, UNPARTITIONED, Family
from selftaught_assets.assets.io_manager import TableIOManager
from selftaught_assets.assets.iteration import (
    build_checkpoint,
    build_filtered_set,
    build_instructions,
    build_judge,
    build_judgments,
    build_pairs_asset,
)
from selftaught_assets.assets.progress import build_progress
from selftaught_assets.assets.report import build_report
from selftaught_assets.assets.sources import build_benchmarks, build_instruction_pool, build_seed_model
from selftaught_assets.recipe import DEFAULT_RECIPE, Recipe, recipe_of_component, shipped_project
from selftaught_assets.runs import EXECUTOR
from selftaught_assets.storage.layout import Layout

ASSETS = (
    build_instruction_pool,
    build_seed_model,
    build_benchmarks,
    build_instructions,
    build_pairs_asset,
    build_judge,
    build_judgments,
    build_filtered_set,
    build_checkpoint,
    build_seed_evaluation,
    build_evaluation,
    build_progress,
    build_report,
)

TEMPLATE = {"type": "string", "pattern": r"\{[{%].*[%}]\}"}
"""The schema of a text in which Dagster's templates occur."""


class Attributes(BaseModel):
    """What stands below `attributes` in defs.yaml: a recipe, in which Dagster's templates are not filled in yet."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema of a recipe, whose name may be missing, and each of whose values may be a template."""
        schema = _with_templates(Recipe.model_json_schema(*args, **kwargs))
        return schema | {"required": [field for field in schema["required"] if field != "name"]}


def _with_templates(schema: Any) -> Any:
    """A JSON schema in which every value may be a template, but for sections, whose mistakes would be less clear."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for parts in ("$defs", "properties"):
        if parts in schema:
            found[parts] = {name: _with_templates(part) for name, part in schema[parts].items()}
    for part in ("items", "additionalProperties"):
        if part in schema:
            found[part] = _with_templates(schema[part])
    has_sections = schema.get("type") == "object" or "$ref" in schema or "$ref" in schema.get("items", {})
    return found if has_sections else {"anyOf": [found, TEMPLATE]}


class EvaluatorScaffolder(dg.Scaffolder):
    """Lays down the demo: a component that loads and runs as it stands, to put one's own data and model into."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        folder = request.target_path
        project = shipped_project()
        shutil.copytree(project / "recipes" / "tinyworld", folder / "tinyworld", dirs_exist_ok=True)
        shutil.copytree(project / "models" / "seed", folder / "seed_model", dirs_exist_ok=True)
        recipe = (project / "recipes" / f"{DEFAULT_RECIPE}.yaml").read_text(encoding="utf-8")
        recipe = re.sub(r"^name:.*\n", "", recipe, flags=re.MULTILINE).replace("../models/seed", "seed_model")
        if request.scaffold_format == "python":
            (folder / "recipe.yaml").write_text(f"name: {folder.name}\n{recipe}", encoding="utf-8")
            (folder / "component.py").write_text(_PYTHON, encoding="utf-8")
            return
        indented = re.sub(r"^(?=.)", "  ", recipe, flags=re.MULTILINE)
        (folder / "defs.yaml").write_text(f"type: {request.type_name}\n\nattributes:\n{indented}", encoding="utf-8")


_PYTHON = """from pathlib import Path

import dagster as dg

from selftaught_assets import SelfTaughtEvaluator
from selftaught_assets.recipe import load_recipe


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> SelfTaughtEvaluator:
    return SelfTaughtEvaluator(load_recipe(str(Path(__file__).with_name("recipe.yaml"))))
"""


@dg.scaffold_with(EvaluatorScaffolder)
class SelfTaughtEvaluator(dg.Component):
    """An LLM-as-a-judge, trained without human labels (Self-Taught Evaluators, arXiv 2408.02666).

    Each iteration's instructions, pairs, judgments, filtered set, checkpoint and evaluation are assets with checks. The
    attributes are a recipe; `name` is that of the folder where it is left out.
    """

    def __init__(self, recipe: Recipe, *, data: Path | None = None, executor: dg.ExecutorDefinition = EXECUTOR) -> None:
        """Takes a loaded recipe.

        Args:
            recipe: what to train, and how.
            data: the folder of all tables and checkpoints; `SELFTAUGHT_DATA` or ./data by default.
            executor: how the steps of its jobs are executed.
        """
        self.recipe = recipe
        self._root = Layout.of(recipe, data).root
        self._executor = executor

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return Attributes

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description="Trains an LLM-as-a-judge without human labels (Self-Taught Evaluators).",
            owners=["team:evaluators"],
            tags=["llm", "evaluation", "training"],
        )

    @classmethod
    def load(cls, attributes: Attributes | None, context: dg.ComponentLoadContext) -> "SelfTaughtEvaluator":
        """The component of a file defs.yaml.

        Raises:
            UserError: the attributes are no recipe.
        """
        scope = {**context.resolution_context.scope, "context": LoadContextScope(context)}
        values = None if attributes is None else attributes.model_dump()
        return cls(recipe_of_component(values, context.path / "defs.yaml", scope))

    def build_defs(self, context: dg.ComponentLoadContext | None = None) -> dg.Definitions:
        """Assets, checks, jobs and the sensor of the recipe.

        Args:
            context: Dagster's; not needed.
        """
        warnings.filterwarnings("ignore", category=dg.PreviewWarning)  # Partitioned checks; the version is pinned.
        family = Family(self.recipe, Layout.of(self.recipe, self._root))
        assets = [build(family) for build in ASSETS]
        every = dg.AssetSelection.assets(*assets)  # Not by the key prefix, which may begin another recipe's.
        return dg.Definitions(
            assets=assets,
            asset_checks=build_checks(family),
            jobs=self._jobs(family, every),
            sensors=_sensors(family, every),
            resources={TABLES: _tables(self._root)},
        )

    def _jobs(self, family: Family, every: dg.AssetSelection) -> list[Any]:
        unpartitioned = dg.AssetSelection.assets(*(family.key(name) for name in UNPARTITIONED))
        iteration = every - unpartitioned
        progress = dg.AssetSelection.assets(*(family.key(name) for name in ("progress", "report")))
        jobs = {
            "prepare": (
                unpartitioned - progress,
                "Reads pool, seed model and benchmarks, and evaluates the seed.",
            ),
            "iteration": (iteration, "One iteration, from instructions to the evaluated checkpoint."),
            "progress": (progress, "The learning curve of all iterations so far, and the report."),
        }
        return [
            dg.define_asset_job(
                family.recipe.dagster_name(name),
                selection,
                description=description,
                tags=family.recipe.assets.tags,
                executor_def=self._executor,
            )
            for name, (selection, description) in jobs.items()
        ]


def _sensors(family: Family, every: dg.AssetSelection) -> list[dg.AutomationConditionSensorDefinition]:
    automation = family.recipe.assets.automation
    if automation == "none":
        return []
    status = dg.DefaultSensorStatus.RUNNING if automation == "running" else dg.DefaultSensorStatus.STOPPED
    return [
        dg.AutomationConditionSensorDefinition(
            family.recipe.dagster_name("roll_on"),
            target=every,
            default_status=status,
            description="Lets every stage follow its upstream at once, iteration after iteration to the last.",
        )
    ]


@functools.cache
def _tables(root: Path) -> TableIOManager:
    """The same object for all components, without which Dagster would not merge their definitions."""
    return TableIOManager(base_path=UPath(root))
