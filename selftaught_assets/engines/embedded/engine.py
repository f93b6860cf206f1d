"""The embedded engine: any causal model that `transformers` loads, with the fastest decoder that is true to it.

The fastest decoder whose distributions are the model's own is the one that runs. A trial decides: all of them say
what follows ordinary texts, token by token, in the dtype of the run. The yardstick is the model's own forward pass
over whole texts, without a cache and, where the run has 16 bits, in 32. A decoder may stray from it as far as the
rounding of the plain decoder does, and no further; what is compared is what sampling sees, the distributions.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date as Date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selftaught_assets.engines import chat, protocol
from selftaught_assets.engines.embedded import forward
from selftaught_assets.engines.embedded.decoders import PlainDecoder, SharedPrefixDecoder, last_logits
from selftaught_assets.engines.embedded.decoding import Decoder, Limits, decode
from selftaught_assets.engines.embedded.forward import LlamaForward, own_forward
from selftaught_assets.engines.pretrained import load_base, merged
from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.errors import UserError, refused_as
from selftaught_assets.recipe.engines import TEMPLATE_DATE, TransformersSettings
from selftaught_assets.startup import import_quickly
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def in_float32(model: "PreTrainedModel") -> "Iterator[None]":
    """Computes with the model's own weights in float32, layer after layer: memory grows by one layer and an embedding.

    The weights themselves stay where and as they are.
    """
    import torch

    held: dict[torch.nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def widen(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        whole = module in layers
        narrow_ones = [
            tensor
            for tensor in (*module.parameters(recurse=whole), *module.buffers(recurse=whole))
            if tensor.dtype in (torch.bfloat16, torch.float16)
        ]
        held[module] = [(tensor, tensor.data) for tensor in narrow_ones]
        for tensor in narrow_ones:
            tensor.data = tensor.data.float()
        return _widened(args), _widened(kwargs)

    def restore(module: torch.nn.Module, *_: object) -> None:
        for tensor, data in held.pop(module):
            tensor.data = data

    layers = _layers(model)
    inside = {module for layer in layers for module in layer.modules()}
    outside = [m for m in model.modules() if m not in inside and any(True for _ in m.parameters(recurse=False))]
    hooks = []
    for module in (*layers, *outside) if model.dtype != torch.float32 else ():
        hooks += [module.register_forward_pre_hook(widen, with_kwargs=True), module.register_forward_hook(restore)]
    try:
        yield
    finally:
        for module in list(held):
            restore(module)
        for hook in hooks:
            hook.remove()


def _layers(model: "PreTrainedModel") -> "set[torch.nn.Module]":
    """The members of the outermost lists of modules."""
    import torch

    lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    outermost = [module for name, module in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    return {layer for module in outermost for layer in module}


def _widened(value: object) -> object:
    """The same with floating-point tensors in float32, in tuples, lists and dictionaries too."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(map(_widened, value))
    if type(value) is dict:
        return {name: _widened(entry) for name, entry in value.items()}
    return value


_LOG = logging.getLogger(__name__)
_TEXT = (
    "The river was low that summer, and the boats lay on the mud until the tide came back. Anna counted them: seven "
    "large ones, two small, and a ferry that had carried post since 1912. What would it cost, she asked, to paint the "
    "smallest of them blue? About forty pounds, said the old man, if you do the work yourself. "
)
_ROWS = 2
"""Samples of each prompt."""
_STEPS = 5
_SHORT = 24
"""Tokens of text in the shorter prompts; the longer one has twice as many, or more than any window."""
_LONGEST = 8_704
"""Tokens of a prompt of the trial at most."""
_WORK = {"cpu": 2e11, "cuda": 5e13}
"""Parameters times tokens that a trial may take: some seconds."""
_NOISE = 4.0
"""How many times as far as the plain decoder a faster one may stray: two samples of rounding differ by a factor."""
_FLOOR = 1e-6
"""Divergence that is none, as a share of that between places of the text: logits that agree to a thousandth."""
_ASTRAY = 1e-3
"""Divergence of the plain decoder, as such a share, that has to be explained by rounding."""
_ROPE_THAT_LOOKS_AT_THE_BATCH = {"dynamic", "longrope"}


class _Passages(NamedTuple):
    """Three prompts, two of which have the same length, and what follows each of their samples."""

    prompts: list[tuple[int, ...]]
    following: np.ndarray
    """Token ids of shape (prompts, samples of each, steps)."""


def suitable_decoder(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase | None" = None) -> Decoder:
    """The fastest decoder that gives this model's own distributions in a trial; a refusal of a faster one is logged.

    The fastest forward pass fuses the model's weights.

    Args:
        model: on its device, in its dtype.
        tokenizer: for texts in the model's own words and chat template; without one, tokens are drawn at random.

    Raises:
        UserError: none gives them: the model is of a kind that cannot be decoded token by token here.
    """
    name = " ".join(f"The model {model.name_or_path or ''} ({model.config.model_type})".split())
    undecodable = f"{name} is of a kind that the engine `transformers` cannot decode: use another model or engine"
    window = _longest_window(model)
    passages = _passages(model, tokenizer, window)
    with refused_as(undecodable):
        plainly = _tried(PlainDecoder(model), passages)
        with in_float32(model):
            yardstick = _in_one_pass(model, passages)
    if yardstick.isnan().any():
        raise UserError(f"{name} gives logits that are NaN: copy it again, or train it again.")
    spread = _divergence(yardstick, yardstick.roll(1, 0))
    noise = _divergence(yardstick, plainly)
    astray = noise > _ASTRAY * spread
    if astray and noise > _ASTRAY * spread + _NOISE * _divergence(yardstick, _in_one_pass(model, passages)):
        raise UserError(f"{undecodable}: decoding it token by token gives other results than one pass.")
    bound = _NOISE * noise + _FLOOR * spread

    def refusal(decoder: Decoder) -> str | None:
        try:
            with refused_as("it does not run"):
                strayed = _divergence(yardstick, _tried(decoder, passages))
        except UserError as error:
            return str(error)
        return None if strayed <= bound else f"it strays by {strayed:.2g} nats a token, rounding by {noise:.2g}"

    reason = _unfit(model, window, passages)
    if reason is None:
        own = SharedPrefixDecoder(own_forward(model), model.device)
        reason = refusal(own)
    if reason is not None:
        _LOG.warning("%s is decoded one prompt length at a time. The fast decoder is refused: %s.", name, reason)
        return PlainDecoder(model)
    if not forward.suits(model):
        return own
    fused = SharedPrefixDecoder(LlamaForward(model), model.device)
    reason = refusal(fused)
    if reason is not None:
        _LOG.warning("%s is decoded by its own forward pass. The fused one is refused: %s.", name, reason)
        return own
    return fused


def context_of(model: "PreTrainedModel") -> int | None:
    """Positions that the model has; None: no limit."""
    # Models without a limit of their own (ALiBi, recurrent ones) lack the attribute.
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _unfit(model: "PreTrainedModel", window: int, passages: _Passages) -> str | None:
    """Why the fast decoder is not even tried."""
    if not model._supports_attention_backend:
        return "its attention cannot be taken over"
    if _rope_looks_at_the_batch(model):
        return "its positions depend on the longest row of a batch"
    if window > max(map(len, passages.prompts)):
        return f"its window of {window:,} tokens is too long for a trial"
    return None


def _rope_looks_at_the_batch(model: "PreTrainedModel") -> bool:
    """Whether rotary frequencies depend on the longest row of the batch, so that rows of one length must run alone."""
    rope = model.config.get_text_config().to_dict().get("rope_parameters") or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in _ROPE_THAT_LOOKS_AT_THE_BATCH for kind in kinds)


def _longest_window(model: "PreTrainedModel") -> int:
    """The longest stretch of tokens that the configuration treats as one (window, chunk, block), within the context."""
    settings = model.config.get_text_config().to_dict()
    stretches = [
        value
        for name, value in settings.items()
        if type(value) is int and any(word in name for word in ("window", "chunk", "block_size"))
    ]
    context = context_of(model) or float("inf")
    return max((stretch for stretch in stretches if stretch < context), default=0)


def _passages(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase | None", window: int) -> _Passages:
    affordable = int(_WORK.get(model.device.type, 0) / model.num_parameters())
    long = window + _SHORT if window + _SHORT <= min(_LONGEST, affordable) else 0
    room = max((context_of(model) or _LONGEST) - _STEPS, 1)
    lengths = (_SHORT, _SHORT, max(2 * _SHORT, long))
    if tokenizer is None:
        draws = np.random.default_rng(0)
        vocabulary = model.get_input_embeddings().num_embeddings
        prompts = [tuple(draws.integers(0, vocabulary, min(length, room)).tolist()) for length in lengths]
        return _Passages(prompts, draws.integers(0, vocabulary, (len(prompts), _ROWS, _STEPS)))
    words = chat.plain_ids(tokenizer, _TEXT)
    if not words:
        raise UserError(f"The tokenizer of {tokenizer.name_or_path} makes no tokens of a text: copy the model again.")
    texts = words, words[_SHORT:] + words[:_SHORT], words
    prompts = [_prompt(tokenizer, text, length)[-room:] for text, length in zip(texts, lengths, strict=True)]
    same = min(map(len, prompts[:2]))
    prompts = [prompts[0][:same], prompts[1][:same], prompts[2]]
    following = np.resize(np.array(words, dtype=np.int64), (len(prompts), _ROWS, _STEPS))
    return _Passages(prompts, following)


def _prompt(tokenizer: "PreTrainedTokenizerBase", words: Sequence[int], length: int) -> tuple[int, ...]:
    """The text, cut or repeated to a number of tokens, as a message to the model."""
    text = tokenizer.decode(np.resize(np.array(words), length), skip_special_tokens=True)
    if not tokenizer.chat_template:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    return chat.render(tokenizer, [{"role": "user", "content": text}]).token_ids


def _tried(decoder: Decoder, passages: _Passages) -> "torch.Tensor":
    """Logits of the places after each prompt and each further token: shape (steps + 1, samples, vocabulary), flat."""
    import torch

    owners = np.repeat(np.arange(len(passages.prompts)), _ROWS)
    with torch.inference_mode():
        if decoder.mixes_lengths:
            rows, logits = decoder.start(passages.prompts, owners)
            cohorts = [rows]
        else:
            # Prompts of one length start together, as in a run: their caches are repeated for the rows.
            equal, other = passages.prompts[:-1], passages.prompts[-1:]
            started = [decoder.start(prompts, np.repeat(np.arange(len(prompts)), _ROWS)) for prompts in (equal, other)]
            cohorts, logits = [rows for rows, _ in started], torch.cat([logits for _, logits in started])
        collected = [logits.float()]
        for tokens in passages.following.reshape(len(owners), _STEPS).T[:-1]:
            logits = decoder.step(cohorts, torch.from_numpy(tokens.copy()).to(logits.device))
            collected.append(logits.float())
    return torch.cat(collected)


def _in_one_pass(model: "PreTrainedModel", passages: _Passages) -> "torch.Tensor":
    """The same by the model's own forward pass over whole texts."""
    import torch

    collected = []
    with torch.inference_mode():
        for prompt, following in zip(passages.prompts, passages.following, strict=True):
            texts = np.concatenate([np.tile(prompt, (_ROWS, 1)), following[:, :-1]], axis=1)
            ids = torch.from_numpy(texts).to(model.device)
            logits = model(input_ids=ids, use_cache=False, **last_logits(model, _STEPS)).logits
            collected.append(logits[:, -_STEPS:].float())
    return torch.cat(collected).transpose(0, 1).flatten(0, 1)


def _divergence(of: "torch.Tensor", others: "torch.Tensor") -> float:
    """Mean Kullback-Leibler divergence of the distributions, in nats a token."""
    ours, theirs = of.double().log_softmax(-1), others.double().log_softmax(-1)
    weighted = ours.exp() * (ours - theirs)
    return float(weighted.masked_fill(ours == float("-inf"), 0).sum(-1).mean())


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
        self.identity = protocol.identity(model_digest, str(model.dtype).removeprefix("torch."))
        self.capacity = max_rows
        self.device = model.device
        self.dtype = model.dtype
        self._tokenizer = tokenizer
        self._decoder = decoder or suitable_decoder(model, tokenizer)
        self.end_tokens = chat.end_tokens(tokenizer, model.generation_config.eos_token_id)
        empty_prompt_token = chat.empty_prompt_token(tokenizer, self.end_tokens)
        self._limits = Limits(self.end_tokens, context_of(model), max_rows, empty_prompt_token)

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text."""
        return chat.render(self._tokenizer, messages, date, reply, choices)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index)."""
        return decode(self._decoder, self._tokenizer, self._limits, requests)

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
    dtype = getattr(torch, protocol.dtype_of(settings))
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
