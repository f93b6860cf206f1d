"""Models loaded by `transformers` and PEFT: completely, or refused in one sentence.

Both libraries go on when a file lacks weights, and draw random ones; a name that fits nothing is a line on stderr.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines import chat
from selftaught_assets.errors import UserError, refused_as
from selftaught_assets.model_files import adapter_config_content
from selftaught_assets.startup import import_quickly
from selftaught_assets.storage.models import require_no_adapter_beside

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_LOG = logging.getLogger(__name__)
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_NAMES_SHOWN = 3
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
    from transformers import AutoConfig, AutoModelForCausalLM

    require_no_adapter_beside(folder)
    tokenizer = chat.load_tokenizer(folder)
    with refused_as(f"The model {folder} cannot be loaded"):
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if config.is_encoder_decoder:
        raise UserError(
            f"The model {folder} ({config.model_type}) has an encoder: use a decoder-only model, as chat models are."
        )
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
    where = base.name_or_path or f"a {base.config.model_type}"
    with refused_as(f"The adapter {folder} does not fit the base model {where}"):
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = not trainable
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
    shown = sorted(names)[:_NAMES_SHOWN]
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
