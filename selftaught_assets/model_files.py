"""The files that make a model what it is: the one list that digests, pointers, checkpoints and exports go by.

Names are patterns, relative to the folder. Files may be links, as in the cache of the Hugging Face hub.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from selftaught_assets.errors import UserError, refused_as
from selftaught_assets.input_files import LARGEST_SETTINGS, MEBIBYTE, content_of, opened, text_of

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
CARD = "README.md"

VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.*.json",  # for other versions of transformers
    "tekken*.json",
    "*vocab.json",
    "merges.txt",
    "vocab.txt",
    "dict.txt",
    "bpe.codes",
    "*.model",
    "*.model.v*",
    "*.spm",
    "*.tiktoken",
    "*.tokenizer",
)
TOKENIZER_FILES = (
    *VOCABULARIES,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "normalizer.json",
    "emoji.json",
    "byte_maps.json",
    "word_*.json",
    CHAT_TEMPLATE,
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
"""Whatever `from_pretrained` of any tokenizer reads."""
MODEL_FILES = (CONFIG, GENERATION_CONFIG, "*.safetensors", WEIGHTS_INDEX, *TOKENIZER_FILES)
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)

LARGEST_JSON = 256 * MEBIBYTE
"""Of a file of a model folder. The largest tokenizers have a tenth of it."""
_LARGEST_CONFIG = 8 * MEBIBYTE
_MOST_LAYERS = 1_000
"""By a configuration. The deepest models have a fifth of it; a billion would be made one by one."""
_DEEPEST = 100
"""Levels of JSON that are read; of those of a model there are ten."""

Stamp = tuple[int, int, int, int]
"""Size, time of the last change of the content and of the entry (nanoseconds), inode."""


class Tensor(NamedTuple):
    """What a file of weights says of one of them."""

    dtype: str
    """As safetensors names it, such as BF16."""
    shape: tuple[int, ...]


_WITHOUT_EFFECT = {"_name_or_path", "name_or_path", "_commit_hash", "transformers_version"}
_CONFIG_WITHOUT_EFFECT = _WITHOUT_EFFECT | {"use_cache"}
_TOKENIZER_CONFIG_WITHOUT_EFFECT = _WITHOUT_EFFECT | {
    "is_local",
    "local_files_only",
    "processor_class",
    "special_tokens_map_file",
    "tokenizer_file",
}
_ADAPTER_CONFIG_WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "peft_version",
    "revision",
    "task_type",
}
"""Provenance, and what matters while an adapter is trained."""


def files_of(folder: Path, patterns: Collection[str]) -> dict[str, Path]:
    """The files of a folder that fit any of the patterns, by their names relative to it, sorted."""
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def stamps(folder: Path, patterns: Collection[str]) -> dict[str, Stamp]:
    """What tells, without reading them, whether files were touched, replaced, added or removed."""
    return {name: stamp(path) for name, path in files_of(folder, patterns).items()}


def stamp(path: Path) -> Stamp:
    """Of one file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies the whole tokenizer of a model folder, with its chat templates, into another folder."""
    for name, path in files_of(source, TOKENIZER_FILES).items():
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target / name)


def config_content(folder: Path) -> dict[str, object]:
    """What counts of a model's configuration.

    Raises:
        UserError: it is missing or damaged, or of more layers than any model has.
    """
    remedy = "a model folder needs the config.json that save_pretrained writes"
    config = read_json(folder / CONFIG, remedy, most=_LARGEST_CONFIG)
    _require_few_layers(folder, config)
    return _without(config, _CONFIG_WITHOUT_EFFECT)


def end_of_sequence(folder: Path) -> object:
    """The end tokens of the generation configuration: all that is used of it. None where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / GENERATION_CONFIG
    return read_json(path, "copy the model again").get("eos_token_id") if path.exists() else None


def tokenizer_content(folder: Path) -> dict[str, object]:
    """What counts of a tokenizer, by file name: digests, and of tokenizer_config.json what it says.

    Raises:
        UserError: tokenizer_config.json is damaged, there is no vocabulary or no chat template, or it is not UTF-8.
    """
    files = files_of(folder, TOKENIZER_FILES)
    if not files_of(folder, VOCABULARIES):
        raise UserError(f"The model folder {folder} has no tokenizer: add the tokenizer.json that belongs to it.")
    settings = read_json(files[TOKENIZER_CONFIG], "copy the model again") if TOKENIZER_CONFIG in files else {}
    given = settings.get("chat_template")
    if CHAT_TEMPLATE not in files and not given:
        raise UserError(
            f"The model folder {folder} has no chat template: use an instruction-tuned model, or add {CHAT_TEMPLATE}."
        )
    if given is not None and not isinstance(given, str | list | dict):
        raise UserError(f"{files[TOKENIZER_CONFIG]} has a chat_template that is no text: copy the model again.")
    if len(str(given)) > LARGEST_SETTINGS:
        raise UserError(f"{files[TOKENIZER_CONFIG]} has a chat_template that nobody wrote by hand: copy it again.")
    for name, path in files.items():
        if name.endswith(".jinja"):
            with refused_as(f"The chat template {path} cannot be read"):
                text_of(path, LARGEST_SETTINGS)
    digests = {name: file_digest(path) for name, path in files.items() if name != TOKENIZER_CONFIG}
    return digests | {TOKENIZER_CONFIG: _without(settings, _TOKENIZER_CONFIG_WITHOUT_EFFECT)}


def adapter_config_content(folder: Path) -> dict[str, object]:
    """What counts of how an adapter applies. A field at its usual nothing counts as absent: releases of PEFT add some.

    Raises:
        UserError: it is missing or damaged, or of an adapter that is no LoRA: others may fetch or unpickle anything.
    """
    config = read_json(folder / ADAPTER_CONFIG, "an adapter needs the file that PEFT's save_pretrained writes")
    if config.get("peft_type") != "LORA":
        kind = config.get("peft_type")
        raise UserError(f"The adapter {folder} is of kind {kind}: only LoRA adapters (peft_type LORA) are served.")
    said = {name: value for name, value in config.items() if name not in _ADAPTER_CONFIG_WITHOUT_EFFECT and value}
    return {name: sorted(value) if _is_set(value) else value for name, value in said.items()}


def weight_files(folder: Path) -> list[Path]:
    """The files with a model's weights: model.safetensors, or the shards that its index names.

    Raises:
        UserError: there are none; one is missing, cut off, or lacks what the index says is in it; or it is not clear
            which ones are meant.
    """
    if (folder / WEIGHTS).is_file():
        if (folder / WEIGHTS_INDEX).is_file() and set(_weight_map(folder).values()) != {WEIGHTS}:
            raise UserError(
                f"The model folder {folder} has both {WEIGHTS} and an index of other files, and engines differ in "
                "which they load: remove the wrong one."
            )
        require_whole_safetensors(folder / WEIGHTS)
        return [folder / WEIGHTS]
    if (folder / WEIGHTS_INDEX).is_file():
        return _shards(folder)
    if pickles := sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"}):
        raise UserError(
            f"The model folder {folder} has its weights only as pickle ({pickles[0]}), which can run code when it is "
            "loaded and is refused: convert it with save_pretrained(safe_serialization=True)."
        )
    raise UserError(f"The model folder {folder} has no weights: it needs {WEIGHTS}, or shards and their index.")


def require_whole_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, which has all of their bytes.

    Raises:
        UserError: it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"The weights {path} do not exist: copy the model again.")
    opened(path).close()  # A file that may not be read does not exist to safetensors.
    try:
        with safe_open(path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118  It is no dict.
            return {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise UserError(f"{path} is not a complete safetensors file ({error}): copy it again.") from None


def read_json(path: Path, remedy: str, most: int = LARGEST_JSON) -> dict[str, object]:
    """A JSON object from a file.

    Args:
        path: of the file.
        remedy: how the sentence about a missing or damaged one ends.
        most: bytes that are read.

    Raises:
        UserError: it is missing or damaged.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: {remedy}.")
    text = content_of(path, most)
    try:
        content = json.loads(text.decode("utf-8"))
        _require_shallow(content)
    except (ValueError, RecursionError):  # No JSON, no UTF-8, or nested without end.
        raise UserError(f"{path} is not valid JSON: {remedy}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object: {remedy}.")
    return content


def _require_shallow(content: object) -> None:
    """Raises RecursionError for what is nested deeper than those who look through it later can go."""
    level = [[content]]
    for _ in range(_DEEPEST):
        parts = (value.values() if isinstance(value, dict) else value for value in level)
        level = [part for some in parts for part in some if isinstance(part, dict | list)]
        if not level:
            return
    raise RecursionError


def _require_few_layers(folder: Path, config: dict[str, object]) -> None:
    for section in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name, value in section.items():
            if name.endswith(("layer", "layers")) and type(value) is int and value > _MOST_LAYERS:
                raise UserError(
                    f"{folder / CONFIG} has {name} {value:,}, of which at most {_MOST_LAYERS:,} can be: copy the model "
                    "again."
                )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shards(folder: Path) -> list[Path]:
    weight_map = _weight_map(folder)
    held = {name: require_whole_safetensors(folder / name) for name in sorted(set(weight_map.values()))}
    lost = sorted(weight for weight, name in weight_map.items() if weight not in held[name])
    if lost:
        raise UserError(
            f"{folder / weight_map[lost[0]]} lacks weights that {WEIGHTS_INDEX} says are in it ({len(lost)}, such as "
            f"{lost[0]}): copy the model again."
        )
    return [folder / name for name in held]


def _weight_map(folder: Path) -> dict[str, str]:
    """From weights to the files that hold them."""
    index = read_json(folder / WEIGHTS_INDEX, "copy the model again")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{folder / WEIGHTS_INDEX} lists no weights: copy the model again.")
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"{folder / WEIGHTS_INDEX} names {name!r}, which is no safetensors file beside it: copy the model "
                "again."
            )
    return weight_map


def _without(content: object, names: Collection[str]) -> object:
    """A configuration without some of its fields, at any depth."""
    if isinstance(content, dict):
        return {name: _without(value, names) for name, value in content.items() if name not in names}
    return [_without(item, names) for item in content] if isinstance(content, list) else content


def _is_set(value: object) -> bool:
    """PEFT writes sets as lists, in any order."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
