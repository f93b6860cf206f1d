"""Models on disk: what makes a model folder usable, and which model it is, by content.

Belongs here: checks of a model folder, digests of weights, the reference that stages hand to an engine, and the
pointer file of `judge`. Not here: how a checkpoint folder is written (checkpoints.py), how a model runs (engines).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import digest
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.files import written_aside
from selftaught_assets.storage.schema import FIRST, SCHEMA_VERSION, require_readable

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_MODELS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
TOKENIZER_FILES = (*TOKENIZER_MODELS, TOKENIZER_CONFIG, "special_tokens_map.json", CHAT_TEMPLATE)

_CONFIG_WITHOUT_EFFECT = {"_name_or_path", "transformers_version", "use_cache"}
_ADAPTER_CONFIG_WITH_EFFECT = (
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "bias",
)


@dataclass(frozen=True)
class ModelReference:
    """A model as a stage names it to an engine: a base folder and, for a trained judge, a LoRA adapter on it."""

    base: Path
    adapter: Path | None
    """A folder with adapter_model.safetensors and adapter_config.json: a checkpoint folder."""
    digest: str
    """SHA-256, as 64 hex digits, of base and adapter: the model's identity wherever the folders lie."""


def reference_model(folder: Path) -> ModelReference:
    """The reference of a full model folder, as `save_pretrained` writes it.

    Its digest covers what turns messages into text: the weights, the tokenizer's vocabulary, the chat template, the
    end-of-sequence tokens, and every field of the configuration but those without effect on the result; not the
    folder's path, nor file times.

    Raises:
        UserError: the folder is missing, or lacks a configuration, whole safetensors weights, a tokenizer or a chat
            template.
    """
    if not folder.is_dir():
        raise UserError(f"There is no model folder {folder}: correct the path in the recipe.")
    config = _read_json(folder / "config.json", "a model folder needs the config.json that save_pretrained writes")
    weights = _weight_files(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_MODELS):
        raise UserError(f"The model folder {folder} has no tokenizer: add the tokenizer.json that belongs to it.")
    parts = {
        "chat_template": _chat_template(folder),
        "config": {name: value for name, value in config.items() if name not in _CONFIG_WITHOUT_EFFECT},
        "end_of_sequence": _generation_config(folder).get("eos_token_id"),
        "tokenizer": [_file_digest(path) for path in map(folder.joinpath, TOKENIZER_MODELS) if path.is_file()],
        "weights": [_file_digest(path) for path in weights],
    }
    return ModelReference(base=folder, adapter=None, digest=digest("model", parts))


def adapter_digest(folder: Path, base_digest: str) -> str:
    """Digest of a base model with the LoRA adapter of `folder`: changes with the weights and with how they apply.

    Raises:
        UserError: the adapter's configuration or weights are missing or damaged.
    """
    config = _read_json(folder / ADAPTER_CONFIG, "an adapter needs the file that PEFT's save_pretrained writes")
    _require_whole_safetensors(folder / ADAPTER_WEIGHTS)
    effect = {name: config.get(name) for name in _ADAPTER_CONFIG_WITH_EFFECT}
    return digest("adapter", base_digest, effect, _file_digest(folder / ADAPTER_WEIGHTS))


def reference_adapter(folder: Path, otherwise: Path) -> ModelReference:
    """The reference of a LoRA adapter, as PEFT's `save_pretrained` writes it, on the base model that it names.

    Args:
        folder: of the adapter.
        otherwise: the base model where the one that the adapter names is no folder of this machine.

    Raises:
        UserError: files are missing or damaged.
    """
    config = _read_json(folder / ADAPTER_CONFIG, "an adapter needs the file that PEFT's save_pretrained writes")
    named = config.get("base_model_name_or_path")
    base = reference_model(Path(named) if isinstance(named, str) and named and Path(named).is_dir() else otherwise)
    return ModelReference(base=base.base, adapter=folder, digest=adapter_digest(folder, base.digest))


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
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_pointer(path: Path, *, root: Path) -> ModelReference:
    """Reads what `write_pointer` wrote.

    Raises:
        UserError: the file is missing, damaged or of a newer release, or a folder that it names is gone.
    """
    content = _read_json(path, "materialize `judge` of this iteration")
    require_readable(content, FIRST, path)
    try:
        base, adapter = root / content["base"], content["adapter"] and root / content["adapter"]
        model = ModelReference(base, adapter, content["digest"])
    except (KeyError, TypeError):
        raise UserError(f"{path} does not name a model: materialize `judge` of this iteration again.") from None
    for folder in (model.base, model.adapter):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{path} names {folder}, which is gone: materialize `judge` of this iteration again.")
    return model


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        files = [folder / WEIGHTS]
    elif (folder / WEIGHTS_INDEX).is_file():
        index = _read_json(folder / WEIGHTS_INDEX, "copy the model again")
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{folder / WEIGHTS_INDEX} lists no weights: copy the model again.")
        files = [folder / name for name in sorted(set(weight_map.values()))]
    elif pickles := sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"}):
        raise UserError(
            f"The model folder {folder} has its weights only as pickle ({pickles[0]}), which can run code when it is "
            "loaded and is refused: convert it with save_pretrained(safe_serialization=True)."
        )
    else:
        raise UserError(f"The model folder {folder} has no weights: it needs {WEIGHTS}, or shards and their index.")
    for file in files:
        _require_whole_safetensors(file)
    return files


def _require_whole_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"The weights {path} do not exist: copy the model again.")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): copy it again.") from None


def _chat_template(folder: Path) -> object:
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    settings = folder / TOKENIZER_CONFIG
    template = _read_json(settings, "copy the model again").get("chat_template") if settings.is_file() else None
    if not template:
        raise UserError(
            f"The model folder {folder} has no chat template: use an instruction-tuned model, or add {CHAT_TEMPLATE}."
        )
    return template


def _generation_config(folder: Path) -> dict[str, object]:
    path = folder / "generation_config.json"
    return _read_json(path, "copy the model again") if path.is_file() else {}


def _read_json(path: Path, remedy: str) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {remedy}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path} is not valid JSON: {remedy}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object: {remedy}.")
    return content


def _stored_path(folder: Path, root: Path) -> str:
    folder, root = folder.resolve(), root.resolve()
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
