"""Models on disk: which model it is, by content."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from selftaught_assets.errors import UserError
from selftaught_assets.input_files import LARGEST_SETTINGS
from selftaught_assets.method.identity import digest
from selftaught_assets.model_files import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    ADAPTER_WEIGHTS,
    CARD,
    MODEL_FILES,
    WEIGHTS,
    WEIGHTS_INDEX,
    Stamp,
    adapter_config_content,
    config_content,
    end_of_sequence,
    file_digest,
    read_json,
    require_whole_safetensors,
    stamps,
    tokenizer_content,
    weight_files,
)
from selftaught_assets.recipe.plain_yaml import load_yaml
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.files import FIRST, SCHEMA_VERSION, require_readable, written_aside

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelReference:
    """A model as a stage names it to an engine: a base folder and, for a trained judge, a LoRA adapter on it."""

    base: Path
    adapter: Path | None
    """A folder with adapter_model.safetensors and adapter_config.json: a checkpoint folder."""
    digest: str
    """SHA-256, as 64 hex digits, of base and adapter: the model's identity wherever the folders lie."""
    stamps: Mapping[str, Stamp] | None = field(default=None, compare=False, repr=False)
    """Of all files, from before the digest was made of them; None where it was not made here."""


def reference_model(folder: Path) -> ModelReference:
    """The reference of a full model folder, as `save_pretrained` writes it.

    Its digest covers what turns messages into text: the weights, the whole tokenizer with its chat templates, the
    end-of-sequence tokens, and every field of the configurations but those without effect on the result; not the
    folder's path, nor file times.

    Raises:
        UserError: the folder is missing, or lacks a configuration, whole safetensors weights, a tokenizer or a chat
            template; or an adapter lies beside the weights.
    """
    if not folder.is_dir():
        raise UserError(f"There is no model folder {folder}: correct the path in the recipe.")
    require_no_adapter_beside(folder)
    before = _stamps(folder, "base", MODEL_FILES)
    parts = {
        "config": config_content(folder),
        "weights": [file_digest(path) for path in weight_files(folder)],
        "tokenizer": tokenizer_content(folder),
        "end_of_sequence": end_of_sequence(folder),
    }
    return ModelReference(folder, None, digest("model", parts), before)


def require_no_adapter_beside(folder: Path) -> None:
    """Refuses a folder with the weights of a model and an adapter: which of the two it means, nobody says.

    `transformers` would put the adapter into the weights in silence, vLLM would not.

    Raises:
        UserError: there are both.
    """
    has_weights = (folder / WEIGHTS).is_file() or (folder / WEIGHTS_INDEX).is_file()
    if has_weights and (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"The folder {folder} has an adapter ({ADAPTER_CONFIG}) next to a model's weights: move the adapter's "
            "files into a folder of their own, and name the one that is meant."
        )


def adapter_digest(folder: Path, base_digest: str) -> str:
    """Digest of a base model with the LoRA adapter of `folder`: changes with the weights and with how they apply.

    Raises:
        UserError: the adapter's configuration or weights are missing or damaged.
    """
    effect = adapter_config_content(folder)
    require_whole_safetensors(folder / ADAPTER_WEIGHTS)
    return digest("adapter", base_digest, effect, file_digest(folder / ADAPTER_WEIGHTS))


def adapted(base: ModelReference, folder: Path) -> ModelReference:
    """The reference of the LoRA adapter in a folder on a base model.

    Raises:
        UserError: the adapter's configuration or weights are missing or damaged, or it lies beside a model's weights.
    """
    require_no_adapter_beside(folder)
    before = _stamps(folder, "adapter", ADAPTER_FILES)
    seen = None if base.stamps is None else {**base.stamps, **before}
    return ModelReference(base.base, folder, adapter_digest(folder, base.digest), seen)


def base_alone(model: ModelReference, base_digest: str) -> ModelReference:
    """The reference of the base of a model, whose digest is known."""
    seen = None
    if model.stamps is not None:
        seen = {name: stamp for name, stamp in model.stamps.items() if name.startswith("base/")}
    return ModelReference(model.base, None, base_digest, seen)


def reference_adapter(folder: Path, otherwise: Path | None) -> ModelReference:
    """The reference of a LoRA adapter, as PEFT's `save_pretrained` writes it, on the base model that it names.

    Args:
        folder: of the adapter.
        otherwise: the base model where the one that the adapter names is no folder of this machine; None where
            nobody knows it.

    Raises:
        UserError: files are missing or damaged, the base model is unknown, or the weights of a model lie beside the
            adapter.
    """
    config = read_json(folder / ADAPTER_CONFIG, "an adapter needs the file that PEFT's save_pretrained writes")
    named = config.get("base_model_name_or_path")
    base = Path(named) if isinstance(named, str) and named and Path(named).is_dir() else otherwise
    if base is None:
        raise UserError(
            f"The adapter {folder} belongs on the base model {named!r}, which is no folder here: correct "
            f"base_model_name_or_path in its {ADAPTER_CONFIG}."
        )
    return adapted(reference_model(base), folder)


def confirmed(model: ModelReference, remedy: str) -> ModelReference:
    """The same reference, if its folders still hold the model of its digest.

    Files that were not touched since are not read again; if any was, all are.

    Args:
        model: a reference that was made before, here or elsewhere.
        remedy: how the sentence about another model ends.

    Raises:
        UserError: the folders hold another model, or none.
    """
    now = _stamps(model.base, "base", MODEL_FILES)
    if model.adapter is not None:
        now |= _stamps(model.adapter, "adapter", ADAPTER_FILES)
    if model.stamps is None or model.stamps == now:
        return model
    touched = sorted(name for name in now.keys() | model.stamps.keys() if now.get(name) != model.stamps.get(name))
    folder = model.adapter or model.base
    _logger.info("%d files of the model %s are not those that were hashed: hashing it again.", len(touched), folder)
    found = reference_model(model.base)
    if model.adapter is not None:
        found = adapted(found, model.adapter)
    if found.digest != model.digest:
        raise UserError(
            f"The model {folder} has changed ({model.digest[:16]}, now {found.digest[:16]}), since "
            f"files were replaced ({_listed(touched)}): {remedy}."
        )
    return replace(model, stamps=found.stamps)


def licence_of(folder: Path) -> str | None:
    """The licence that the card of a model folder states; None where it has no card, or the card says nothing."""
    path = folder / CARD
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(LARGEST_SETTINGS).decode("utf-8", errors="replace").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return None
    try:
        heading = load_yaml(text.removeprefix("---\n").partition("\n---")[0])
    except (yaml.YAMLError, ValueError):
        return None
    licence = heading.get("license") if isinstance(heading, dict) else None
    return licence if isinstance(licence, str) and licence.strip() else None


def write_pointer(path: Path, model: ModelReference, *, root: Path, basis: Basis | None = None) -> None:
    """Writes which model judges an iteration, or is the seed, and what that rests on.

    Folders inside `root` are stored relative to it, so it can be moved.

    Raises:
        UserError: the disk is full.
    """
    content = {
        SCHEMA_VERSION: FIRST,
        "base": _stored_path(model.base, root),
        "adapter": None if model.adapter is None else _stored_path(model.adapter, root),
        "digest": model.digest,
        **({} if basis is None else {"basis": basis.model_dump()}),
        "stamps": model.stamps or {},
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_pointer(path: Path, *, root: Path) -> ModelReference:
    """Reads what `write_pointer` wrote, and makes sure that the folders still hold that model.

    Raises:
        UserError: the file is missing, damaged or of a newer release, a folder that it names is gone, or another model
            is in it.
    """
    content = read_json(path, "materialize `judge` of this iteration")
    require_readable(content, FIRST, path)
    try:
        base, adapter = root / content["base"], content["adapter"] and root / content["adapter"]
        seen = {name: tuple(stamp) for name, stamp in content.get("stamps", {}).items()}
        model = ModelReference(base, adapter, content["digest"], seen)
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path} does not name a model: materialize `judge` of this iteration again.") from None
    for folder in (model.base, model.adapter):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{path} names {folder}, which is gone: materialize `judge` of this iteration again.")
    return confirmed(model, "materialize `judge` of this iteration again, or put the files back")


def _stamps(folder: Path, part: str, patterns: Collection[str]) -> dict[str, Stamp]:
    """Of the files of a part of a model, `base` or `adapter`; one file may be in both."""
    return {f"{part}/{name}": stamp for name, stamp in stamps(folder, patterns).items()}


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _stored_path(folder: Path, root: Path) -> str:
    folder, root = folder.resolve(), root.resolve()
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
