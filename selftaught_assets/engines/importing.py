"""A model folder out of what people have: a GGUF file, a model of the hub, or another folder.

A model of the hub and a folder are copied, file by file: what makes a model what it is (`model_files`) and its card,
never code or pickles. A GGUF file is read by `transformers`, which knows the architectures that it can turn back; its
weights are given in full, so that they can be trained, and stay as coarse as the file has them.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml

from selftaught_assets.engines import chat
from selftaught_assets.engines.pretrained import require_all_weights
from selftaught_assets.errors import UserError, refused_as
from selftaught_assets.model_files import (
    CARD,
    CONFIG,
    MODEL_FILES,
    files_of,
    read_json,
    require_whole_safetensors,
    weight_files,
)
from selftaught_assets.startup import import_quickly
from selftaught_assets.storage.files import folder_written_aside
from selftaught_assets.storage.models import licence_of, reference_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COPIED = (*MODEL_FILES, CARD, "LICENSE*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Imported(NamedTuple):
    """What there is to know of a model before it is used."""

    digest: str
    """SHA-256, as 64 hex digits: the model's identity."""
    architecture: str
    parameters: int
    licence: str | None
    context: int | None
    """Positions that it has."""
    ends: tuple[str, ...]
    """Tokens that end a completion."""
    takes_system: bool
    """Whether its chat template takes a system message."""


def import_model(
    source: str, folder: Path, *, revision: str | None = None, dtype: Literal["bfloat16", "float32"] = "bfloat16"
) -> Imported:
    """Makes a model folder that a recipe can name as `seed_model`; it appears whole or not at all.

    Args:
        source: path of a GGUF file or of a model folder, or an id of the hub (`organisation/name`).
        folder: to write; must be new or empty.
        revision: branch, tag or commit, for a model of the hub.
        dtype: of the weights out of a GGUF file.

    Raises:
        UserError: there is no such source, it cannot be reached, it is no whole chat model of a known architecture, or
            the folder cannot be written.
    """
    path = Path(source)
    if not path.exists() and not _HUB_ID.fullmatch(source):
        raise UserError(
            f"There is no file or folder {source}, and it is no id of the hub either (organisation/name): correct it."
        )
    if revision is not None and path.exists():
        raise UserError(f"{source} lies on this machine, where nothing has revisions: leave --revision out.")
    with folder_written_aside(folder) as aside:
        if path.is_dir():
            _copy(path, aside)
        elif path.exists():
            _write_gguf(path, aside, dtype)
        else:
            with _from_hub(source, revision) as snapshot:
                _copy(snapshot, aside)
        return _described(aside)


def _described(folder: Path) -> Imported:
    tokenizer = chat.load_tokenizer(folder)
    ends = chat.end_tokens(tokenizer, chat.configured_end(folder))
    config = read_json(folder / CONFIG, "copy the model again")
    return Imported(
        digest=reference_model(folder).digest,
        architecture=str(config.get("model_type")),
        parameters=_parameters(folder),
        licence=licence_of(folder),
        context=chat.configured_context(folder),
        ends=tuple(tokenizer.convert_ids_to_tokens(list(ends))),
        takes_system=_takes_system(tokenizer),
    )


def _parameters(folder: Path) -> int:
    """Of the weight files; weights that two layers share are there once."""
    return sum(
        prod(tensor.shape) for path in weight_files(folder) for tensor in require_whole_safetensors(path).values()
    )


def _takes_system(tokenizer: "PreTrainedTokenizerBase") -> bool:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    chat.render(tokenizer, turns[1:])  # If it takes no user's message either, that is said.
    try:
        chat.render(tokenizer, turns)
    except UserError:
        return False
    return True


def _copy(source: Path, folder: Path) -> None:
    for name, path in files_of(source, COPIED).items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)


@contextmanager
def _from_hub(model: str, revision: str | None) -> Iterator[Path]:
    """Fetches the files that are copied, into the hub's own cache, where an interrupted download goes on."""
    from huggingface_hub import snapshot_download

    named = model if revision is None else f"{model} at {revision}"
    with refused_as(f"The model {named} cannot be fetched from the hub"):
        snapshot = snapshot_download(model, revision=revision, allow_patterns=list(COPIED))
    yield Path(snapshot)


def _write_gguf(path: Path, folder: Path, dtype: str) -> None:
    """The model of a GGUF file as `save_pretrained` writes it, with a card that says where it comes from."""
    if find_spec("gguf") is None:
        raise UserError("Reading a GGUF file needs the package gguf: pip install 'selftaught-assets[gguf]'.")
    import_quickly("torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    problem = f"The GGUF file {path} cannot be read"
    with tempfile.TemporaryDirectory() as alone, _without_bars(), refused_as(problem):
        # Alone in a folder, since transformers also looks at what lies beside it.
        (Path(alone) / "model.gguf").symlink_to(path.resolve())
        options: dict[str, Any] = {"gguf_file": "model.gguf", "local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(alone, **options)
        model, found = AutoModelForCausalLM.from_pretrained(
            alone, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    require_all_weights(path, model, found)
    with _without_bars(), refused_as(problem):
        config = model.config
        config.dtype = dtype
        # It says that the weights are quantised, which they are no longer, and would not be saved with that.
        del config.quantization_config
        with torch.device("meta"):
            plain = type(model)(config)
        weights = {name: weight.to(getattr(torch, dtype)) for name, weight in model.state_dict().items()}
        plain.load_state_dict(weights, assign=True)
        plain.tie_weights()
        plain.generation_config = model.generation_config
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        licence = _gguf_licence(path)
    heading = "" if licence is None else f"---\n{yaml.safe_dump({'license': licence})}---\n"
    (folder / CARD).write_text(
        f"{heading}Read from the GGUF file {path.name}. Its weights are as coarse as they were there.\n",
        encoding="utf-8",
    )


def _gguf_licence(path: Path) -> str | None:
    from gguf import GGUFReader

    field = GGUFReader(path).get_field("general.license")
    return None if field is None else str(field.contents())


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws one for each of its steps."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
