"""The embedded engine: any causal language model that `transformers` loads, in this process.

Belongs here: the Engine protocol, and what the recipe says of device and dtype. Not here: loading (loading.py), the
choice of the decoder (trial.py), decoding (decoding.py and the decoders) and chat templates (chat.py).
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import date as Date
from typing import TYPE_CHECKING

from selftaught_assets.engines import chat, precision
from selftaught_assets.engines.embedded.decoding import Decoder, Limits, decode
from selftaught_assets.engines.embedded.trial import context_of, suitable_decoder
from selftaught_assets.engines.loading import load_base, merged
from selftaught_assets.engines.protocol import TEMPLATE_DATE, Completion, Prompt, Request
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import TransformersSettings
from selftaught_assets.startup import import_quickly
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TransformersEngine:
    """A loaded model. Use `open_engine`, which gives its memory back at the end."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        model_digest: str,
        max_rows: int,
        decoder: Decoder | None = None,
    ) -> None:
        """Takes the decoder that suits the model, unless one is given."""
        self.model_digest = model_digest
        self.identity = precision.identity(model_digest, str(model.dtype).removeprefix("torch."))
        self.capacity = max_rows
        self.device = model.device
        self.dtype = model.dtype
        self._tokenizer = tokenizer
        self._decoder = decoder or suitable_decoder(model, tokenizer)
        self.end_tokens = chat.end_tokens(tokenizer, model.generation_config.eos_token_id)
        empty_prompt_token = chat.empty_prompt_token(tokenizer, self.end_tokens)
        self._limits = Limits(self.end_tokens, context_of(model), max_rows, empty_prompt_token)

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index)."""
        return decode(self._decoder, self._tokenizer, self._limits, list(requests))

    def close(self) -> None:
        """Gives the memory back; not where Python ends and takes all of it."""
        if sys.is_finalizing():
            return
        import gc

        import torch

        del self._decoder
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load_engine(settings: TransformersSettings, model: ModelReference) -> TransformersEngine:
    """Loads base and adapter from their folders, never from the network, never code or pickles.

    Raises:
        UserError: the model cannot be loaded whole, or cannot be decoded here, or the device is not there.
    """
    loaded, tokenizer = load_model(settings, model)
    return TransformersEngine(loaded, tokenizer, model.digest, settings.max_rows)


def load_model(
    settings: TransformersSettings, model: ModelReference
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model on the recipe's device, in its dtype, with the adapter merged into the weights; and the tokenizer.

    Raises:
        UserError: as `load_engine`.
    """
    import_quickly("torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto")
    import torch

    device = _device(settings)
    dtype = getattr(torch, precision.dtype_of(settings))
    loaded, tokenizer = load_base(model.base, dtype, device)
    if model.adapter is not None:
        loaded = merged(loaded, model.adapter)
    return loaded.eval(), tokenizer


def _device(settings: TransformersSettings) -> "torch.device":
    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("The recipe asks for `engine.device: cuda`, but PyTorch sees no GPU here: use `auto` or `cpu`.")
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)
