"""From a YAML file to a recipe; any mistake in it is reported in one sentence."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from jinja2 import StrictUndefined, Undefined
from jinja2.nativetypes import NativeEnvironment
from pydantic import BaseModel, TypeAdapter, ValidationError

from selftaught_assets.errors import UserError, refused_as, shortened
from selftaught_assets.input_files import LARGEST_SETTINGS, text_of
from selftaught_assets.method.limits import BoundedSandbox, limited
from selftaught_assets.method.prompts import require_templates
from selftaught_assets.recipe.engines import EngineSettings
from selftaught_assets.recipe.plain_yaml import RepeatedError, load_yaml
from selftaught_assets.recipe.recipe import JudgeSettings, Recipe

SHIPPED = Path(__file__).resolve().parent.parent / "project"
"""The project that `selftaught init` lays down, with the demo's recipes, data and model; a clone is one as well."""
RECIPES_FOLDER = SHIPPED / "recipes"
DEFAULT_RECIPE = "demo"
_TEMPLATE = re.compile(r"\{[{%]")


def shipped_project() -> Path:
    """The folder of the project in the package.

    Raises:
        UserError: it is not whole, as in a clone that was made without symbolic links.
    """
    if not RECIPES_FOLDER.is_dir():
        raise UserError(
            f"{SHIPPED} is not whole: in a clone, run `git config core.symlinks true` and `git checkout -- {SHIPPED}`; "
            "else install selftaught-assets again."
        )
    return SHIPPED


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe: by its name from the folder `recipes` here or from the shipped ones, or from a .yaml file.

    A file that defines a component of Dagster, defs.yaml, is a recipe as well: its attributes are one.

    Raises:
        UserError: the file is missing or not YAML; a field is repeated, unknown or has an impossible value; or a path
            in it leads nowhere.
    """
    path = _file_of(name_or_path)
    try:
        values = load_yaml(text_of(path, LARGEST_SETTINGS))
    except RepeatedError as error:
        raise UserError(f"Recipe {path}: {error}.") from None
    except (yaml.YAMLError, ValueError) as error:  # A date that is none is a ValueError.
        raise UserError(f"Recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"Recipe {path} must be a mapping of fields to values.")
    if "type" in values:
        return recipe_of_component(values.get("attributes"), path)
    return recipe_of(values, path)


def recipe_of_component(attributes: Any, path: Path, scope: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
    """The recipe in the attributes of a component; `name` is that of the folder unless they give one.

    Args:
        attributes: as YAML has them, with their templates (Jinja2); None where there are none.
        path: of the file defs.yaml.
        scope: what templates may name besides `env`, the variables of the environment.

    Raises:
        UserError: as `recipe_of`; or a template names something else, or a variable that is not set.
    """
    if not isinstance(attributes, Mapping | None):
        raise UserError(f"Recipe {path}: `attributes` must be a mapping of fields to values.")
    folder = Path(os.path.normpath(path.absolute())).parent  # Not resolved: a linked folder has a name of its own.
    values = _filled_in(dict(attributes or {}), path, {**scope, "env": _Variables(path)})
    return recipe_of({"name": folder.name} | values, path)


def recipe_of(values: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe with these fields.

    Args:
        values: of the fields, as YAML has them.
        path: of the file that they are from, for paths, which are relative to its folder, and for messages.

    Raises:
        UserError: a field is missing, unknown or has an impossible value, or a path leads nowhere.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"Recipe {path}: {_first_problem(error)}.") from None
    recipe = _with_absolute_paths(recipe, path.resolve().parent)
    recipe._file = path.resolve()
    _require_paths(recipe, path)
    try:
        require_templates(recipe.templates)
    except ValueError as error:
        raise UserError(f"Recipe {path}: {error}") from None
    return recipe


def _file_of(name_or_path: str) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        places = [Path(name_or_path)]
    else:
        places = [folder / f"{name_or_path}.yaml" for folder in (Path("recipes"), RECIPES_FOLDER)]
    for path in places:
        if path.is_file():
            return path
    folders = (Path("recipes"), shipped_project() / "recipes")
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise UserError(
        f"There is no recipe {name_or_path!r}: give the path of a .yaml file, or a name: {', '.join(known)}."
    )


class _Environment(BoundedSandbox, NativeEnvironment):
    """Values keep their types, and a file that comes from others runs nothing."""


def _filled_in(value: Any, path: Path, scope: Mapping[str, Any]) -> Any:
    """With its templates filled in. Any other text stays as it is, whereas Dagster would read "1" as a number."""
    if isinstance(value, dict):
        return {key: _filled_in(part, path, scope) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled_in(part, path, scope) for part in value]
    if not isinstance(value, str) or not _TEMPLATE.search(value):
        return value
    with refused_as(f"Recipe {path}: {value!r} cannot be filled in (known here: {', '.join(sorted(scope))})"):
        found = limited(_Environment(undefined=StrictUndefined).from_string(value).render, scope)
        if isinstance(found, Undefined):
            str(found)  # Which a strict one refuses.
    return found


class _Variables:
    """`env` in templates, as Dagster has it: `env.NAME`, `env("NAME")`, `env("NAME", "default")`.

    Here a variable that is not set is a mistake, for Dagster too, where `env.NAME` would be null.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str, default: Any = ...) -> Any:
        value = os.environ.get(name, default)
        if value is ...:
            raise UserError(f"Recipe {self._path}: the environment variable {name} is not set.")
        return value

    def __getattr__(self, name: str) -> str:
        if name.startswith("jinja") or name in ("unsafe_callable", "alters_data"):  # Jinja looks for marks of its own.
            raise AttributeError(name)
        return self(name)


def engine_settings(text: str, recipe: JudgeSettings) -> EngineSettings:
    """What stands for the recipe's section `engine`, as YAML: a name, or a mapping as in a recipe.

    A name alone means the recipe's own settings where it names the same engine, else that engine's defaults.

    Raises:
        UserError: it is not YAML, or no engine; or a field is repeated, unknown, missing or impossible.
    """
    try:
        value = load_yaml(text)
    except RepeatedError as error:
        raise UserError(f"The engine {text!r}: {error}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"The engine {text!r} is not valid YAML: {' '.join(str(error).split())}.") from None
    if value == recipe.engine.name:
        return recipe.engine
    if not isinstance(value, str | dict):
        raise UserError(f"The engine {text!r} must be a name, such as vllm, or a mapping, such as {{name: vllm}}.")
    try:
        return TypeAdapter(EngineSettings).validate_python(value)
    except ValidationError as error:
        raise UserError(f"The engine {text!r}: {_first_problem(error)}.") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    # Behind `engine` stands which of the engines was meant, which is no field.
    place = ".".join(part for before, part in zip(["", *parts], parts, strict=False) if before != "engine")
    message = problem["msg"].removeprefix("Value error, ")
    if not place:
        return message
    if problem["type"] == "union_tag_invalid":
        tag, known = (problem["ctx"][name] for name in ("tag", "expected_tags"))
        return f"`{place}.name` is {tag!r}: it must be one of {known}"
    if problem["type"] == "extra_forbidden":
        return f"unknown field `{place}`"
    if problem["type"] == "missing":
        return f"field `{place}` is missing"
    return f"`{place}` is {shortened(repr(problem['input']))}: {message[0].lower()}{message[1:]}"


def _with_absolute_paths(section: BaseModel, folder: Path) -> BaseModel:
    updates: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path):
            updates[name] = (folder / value).resolve()
        elif isinstance(value, BaseModel):
            updates[name] = _with_absolute_paths(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            updates[name] = tuple(_with_absolute_paths(item, folder) for item in value)
        elif isinstance(value, dict) and all(isinstance(item, BaseModel) for item in value.values()):
            updates[name] = {key: _with_absolute_paths(item, folder) for key, item in value.items()}
    return section.model_copy(update=updates)


def _require_paths(recipe: Recipe, path: Path) -> None:
    needed = {"seed_model": recipe.seed_model, "prompts": recipe.prompts}
    if recipe.pool.path is not None:
        needed["pool.path"] = recipe.pool.path
    needed |= {f"pool.sources.{s.name}.path": s.path for s in recipe.pool.sources if s.path is not None}
    needed |= {f"benchmarks.{b.name}.path": b.path for b in recipe.benchmarks if b.path is not None}
    if recipe.judgments.first_annotator is not None:
        needed["judgments.first_annotator"] = recipe.judgments.first_annotator
    needed |= {f"checks.suites.{table}": suite.path for table, suite in recipe.checks.suites.items()}
    for field, target in needed.items():
        if not target.exists():
            raise UserError(f"Recipe {path}: `{field}` names {target}, which does not exist.")
