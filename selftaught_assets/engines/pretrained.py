"""Models loaded by `transformers` and PEFT: completely, or refused in one sentence.

Both libraries go on when a file lacks weights, and draw random ones; a name that fits nothing is a line on stderr.
"""

import copy
import logging
import math
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines import chat
from selftaught_assets.errors import UserError, refused_as, visible
from selftaught_assets.model_files import (
    ADAPTER_WEIGHTS,
    Tensor,
    adapter_config_content,
    require_whole_safetensors,
    weight_files,
)
from selftaught_assets.startup import import_quickly
from selftaught_assets.storage.models import require_no_adapter_beside

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_LOG = logging.getLogger(__name__)
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_NAMES_SHOWN = 3
_MOST_ROOM = 16
"""Weights of a model for each number in its files: eight four-bit ones are stored as one number."""
_NO_NUMBERS = ("BOOL", "C", "I", "U")
"""How the names of dtypes begin that weights which are not quantised cannot have."""
_PATTERN_SECONDS = 10
_BUFFERS = ("inv_freq", "masked_bias", "position_ids")
"""Last parts of names that older files have for numbers which are computed today."""


class Loaded(NamedTuple):
    """A completely loaded model and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def load_base(folder: Path, dtype: "torch.dtype | str", device: "torch.device | str") -> Loaded:
    """Loads a model folder, never from the network, never code or pickles, with the attention that it was made for.

    Args:
        folder: as `save_pretrained` writes it.
        dtype: of the weights.
        device: to put them on.

    Raises:
        UserError: `transformers` cannot load it, its files lack weights or have others, it is no decoder, an adapter
            lies beside the weights, or texts can have tokens that the model does not know.
    """
    import_quickly("torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    require_no_adapter_beside(folder)
    tokenizer = chat.load_tokenizer(folder)
    with refused_as(f"The model {folder} cannot be loaded"):
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if config.is_encoder_decoder:
        raise UserError(
            f"The model {folder} ({config.model_type}) has an encoder: use a decoder-only model, as chat models are."
        )
    held = {name: tensor for path in weight_files(folder) for name, tensor in require_whole_safetensors(path).items()}
    if getattr(config, "quantization_config", None) is None:
        _require_numbers(folder, held)
    with refused_as(f"The model {folder} cannot be loaded"), torch.device("meta"):
        described = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype).num_parameters()
    _require_room(folder, described, held)
    with refused_as(f"The model {folder} cannot be loaded"), _without_report():
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **_LOCAL
        )
    require_all_weights(folder, model, found)
    _require_known_tokens(folder, model, tokenizer)
    with refused_as(f"The model {folder} cannot be loaded"):
        model.set_attn_implementation(exact_attention(model))
        return Loaded(model.to(device), tokenizer)


def with_adapter(base: "PreTrainedModel", folder: Path, *, trainable: bool) -> "PeftModel":
    """Puts a LoRA adapter on its base model, all of it.

    Raises:
        UserError: it is another kind of adapter, PEFT cannot load it, or its weights do not fit the base's layers.
    """
    from peft import LoraConfig, PeftModelForCausalLM

    adapter_config_content(folder)  # Refuses other kinds of adapters before PEFT sees them.
    held = require_whole_safetensors(folder / ADAPTER_WEIGHTS)
    _require_numbers(folder, held)
    where = base.name_or_path or f"a {base.config.model_type}"
    with refused_as(f"The adapter {folder} does not fit the base model {where}"):
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = not trainable
        _require_patterns_that_end([config.target_modules, config.exclude_modules], base)
        _require_ranks([config.r, *config.rank_pattern.values()], held)
        adapted = PeftModelForCausalLM(base, config)
        # The adapter is there under this name, so that its weights are all that is loaded now.
        found = adapted.load_adapter(str(folder), "default", is_trainable=trainable, torch_device=str(base.device))
    missing, unexpected = _adapter_names(found.missing_keys), _adapter_names(found.unexpected_keys)
    if missing or unexpected:
        faults = [f"it has no weights for {_some(missing)}"] if missing else []
        faults += [f"the base has no place for its {_some(unexpected)}"] if unexpected else []
        raise UserError(
            f"The adapter {folder} does not fit the base model {where}: {', and '.join(faults)}. Name the base that it "
            "was trained on, or save the adapter again."
        )
    return adapted


def merged(base: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    """The base with a LoRA adapter added to its weights.

    Raises:
        UserError: as `with_adapter`.
    """
    adapted = with_adapter(base, adapter, trainable=False)
    with refused_as(f"The adapter {adapter} cannot be merged into its base model"):
        return adapted.merge_and_unload()


def exact_attention(model: "PreTrainedModel") -> str:
    """The fastest attention of `transformers` that computes what the model asks for, for sampling and training alike.

    `sdpa` cannot cap scores and leaves out the cap of Gemma 2, which `transformers` picks it for anyway.
    """
    capped = model.config.get_text_config().to_dict().get("attn_logit_softcapping") is not None
    return "sdpa" if model._supports_sdpa and not capped else "eager"


def _require_numbers(folder: Path, held: dict[str, Tensor]) -> None:
    """Whole numbers would be taken for weights as they are, without the scales that give them a meaning."""
    for name, tensor in held.items():
        if name.endswith(".weight") and tensor.dtype.startswith(_NO_NUMBERS):
            raise UserError(
                f"The weights of {folder} are no numbers to compute with: {name} has dtype {tensor.dtype}, and no "
                "configuration says how it is quantised. Save them as floating-point numbers."
            )


def _require_room(folder: Path, described: int, held: dict[str, Tensor]) -> None:
    """Weights that are missing are made before they are missed: a configuration may mean more than there is memory."""
    numbers = sum(math.prod(tensor.shape) for tensor in held.values())
    if described > _MOST_ROOM * max(numbers, 1_000_000):
        raise UserError(
            f"The weights of {folder} do not fit its config.json, by which the model has {described:,} numbers; they "
            f"are {numbers:,}. Copy the whole model again."
        )


def _require_ranks(ranks: Collection[object], held: dict[str, Tensor]) -> None:
    """Raises ValueError for more than the weights have: such ranks are made before it shows that they do not fit."""
    largest = max((side for tensor in held.values() for side in tensor.shape), default=0)
    if any(isinstance(rank, int) and rank > largest for rank in ranks):
        raise ValueError(f"its weights have at most {largest} rows, so they are not of rank {max(ranks)}")


def _require_patterns_that_end(patterns: Collection[object], base: "PreTrainedModel") -> None:
    """Tries an adapter's patterns on the names that PEFT tries them on, where that can be ended; else ValueError."""
    names = "\n".join(name for name, _ in base.named_modules())
    for pattern in patterns:
        if isinstance(pattern, str):
            code = "import re, sys; [re.fullmatch(sys.argv[1], name) for name in sys.stdin.read().split()]"
            command = [sys.executable, "-I", "-c", code, pattern]
            try:
                subprocess.run(command, input=names, text=True, timeout=_PATTERN_SECONDS, capture_output=True)
            except subprocess.TimeoutExpired:
                raise ValueError(f"the pattern {pattern!r} does not end: list the modules instead") from None


def require_all_weights(folder: Path, model: "PreTrainedModel", found: dict[str, Collection]) -> None:
    """Refuses a model of which `transformers` made up a part.

    Args:
        folder: where its files are, for the sentence.
        model: as loaded.
        found: the loading information of `from_pretrained`.

    Raises:
        UserError: its files lack weights, or have others, or other shapes, than its configuration says.
    """
    if found["mismatched_keys"]:
        name, in_files, wanted = min(found["mismatched_keys"])
        raise UserError(
            f"The weights of {folder} do not fit its config.json: {name} has shape {tuple(in_files)} in the files and "
            f"{tuple(wanted)} by the configuration: copy the whole model again."
        )
    computed = {name for name, buffer in model.named_buffers() if not buffer.is_floating_point()}
    missing = set(found["missing_keys"]) - computed
    homeless, elsewhere = _unexpected(model, found["unexpected_keys"])
    instead = f"; they hold {_some(homeless | elsewhere)} instead" if homeless or elsewhere else ""
    if missing:
        raise UserError(
            f"The weight files of {folder} lack weights that its config.json requires: {_some(missing)}{instead}. Copy "
            "the whole model again, or save it with save_pretrained."
        )
    if homeless:
        raise UserError(
            f"The weight files of {folder} contain extra weights: {_some(homeless)}. Correct "
            "config.json, or save the model again with save_pretrained."
        )
    if elsewhere:
        _LOG.warning("The model %s is loaded without %s, which no decoder has.", folder, _some(elsewhere))


def _unexpected(model: "PreTrainedModel", names: Collection[str]) -> tuple[set[str], set[str]]:
    """Weights that nothing took: those that belong into the decoder's own modules, and those of other parts.

    Other parts are a head for another task or an encoder of images; a bias of a layer without one, or a layer too many,
    mean that the configuration is another model's.
    """
    modules = dict(model.named_modules())
    homeless, elsewhere = set(), set()
    for name in names:
        parts = name.split(".")
        if parts[-1] in _BUFFERS:
            continue
        inside = any(part.isdecimal() and ".".join(parts[:at]) in modules for at, part in enumerate(parts))
        (homeless if inside or ".".join(parts[:-1]) in modules else elsewhere).add(name)
    return homeless, elsewhere


def _require_known_tokens(folder: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Some tokenizers have tokens for images that a text model lacks; such are no fault while no text can have them."""
    embeddings = model.get_input_embeddings().num_embeddings
    unknown = {token: number for token, number in tokenizer.get_vocab().items() if number >= embeddings}
    if not unknown:
        return
    sample = [{"role": "user", "content": "a"}]
    written = set(chat.render(tokenizer, sample).token_ids) if tokenizer.chat_template else set()
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    for token, number in sorted(unknown.items(), key=lambda item: item[1]):
        if token not in special or number in written or token in (tokenizer.chat_template or ""):
            raise UserError(
                f"The tokenizer of {folder} has token {number} `{token}`, but the model has {embeddings} "
                "embeddings: use the tokenizer that belongs to the model, or grow the embedding "
                "(resize_token_embeddings) and train it."
            )


def _adapter_names(keys: Collection[str]) -> set[str]:
    return {key.removeprefix("base_model.model.").replace(".default.", ".") for key in keys}


def _some(names: Collection[str]) -> str:
    shown = [visible(name) for name in sorted(names)[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


@contextmanager
def _without_report() -> Iterator[None]:
    """Keeps the table of missing weights off stderr: what is in it becomes a sentence, or is no fault."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)
