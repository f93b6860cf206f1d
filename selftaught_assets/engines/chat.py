"""Conversations as token ids: the model's chat template around contents that stay plain text.

Belongs here: what a prompt and a completion are in tokens, for sampling and for training alike. Not here: the wording
of the prompts (method/prompts.py) and the model.

A response can hold `<|im_end|>` or any other special token as a string. Encoded by the tokenizer as it stands it would
end the turn and let the text speak in another role, so such strings are encoded letter by letter.
"""

import re
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.engines.protocol import Prompt
from selftaught_assets.errors import UserError
from selftaught_assets.startup import import_quickly

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTINEL = "\ue000"


class TrainingExample(NamedTuple):
    """A conversation and the completion to learn, in the tokens that sampling sees and draws."""

    prompt_ids: list[int]
    completion_ids: list[int]


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, without the model: never from the network, never code.

    Raises:
        UserError: `transformers` cannot load it.
    """
    import_quickly("transformers.models.auto.tokenization_auto")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"The tokenizer of {folder} cannot be loaded: {' '.join(str(error).split())}") from None


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]]) -> Prompt:
    """The conversation with the turn handed to the assistant.

    Raises:
        UserError: the tokenizer has no chat template, or the template refuses the messages.
    """
    text = _templated(tokenizer, messages, add_generation_prompt=True)
    specials = special_token_pattern(tokenizer)
    contents = [message["content"] for message in messages]
    if specials is None or not any(specials.search(content) for content in contents):
        return Prompt(text, tuple(_encoded(tokenizer, text)), tuple(messages))
    return _rendered_around(tokenizer, messages, text, specials)


def training_example(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], completion: str
) -> TrainingExample:
    """The tokens to learn from: the prompt as `render` gives it, the completion as plain text, the end of the turn.

    Raises:
        UserError: as `render`, or the model has no token that ends a turn.
    """
    end = end_of_turn(tokenizer)
    if end is None:
        raise UserError(
            f"The tokenizer of {tokenizer.name_or_path} has no token that ends a turn: set its `eos_token`, or close "
            "the assistant's turn in its chat template."
        )
    return TrainingExample(
        prompt_ids=list(render(tokenizer, messages).token_ids),
        completion_ids=[*_encoded_as_text(tokenizer, completion), end],
    )


def end_of_turn(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token that closes the assistant's turn: the first special one that the template puts after it, else eos."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SENTINEL}]
    after = _templated(tokenizer, messages, add_generation_prompt=False).rpartition(_SENTINEL)[2]
    specials = special_token_pattern(tokenizer)
    found = specials.search(after) if specials else None
    return tokenizer.convert_tokens_to_ids(found.group()) if found else tokenizer.eos_token_id


def end_tokens(tokenizer: "PreTrainedTokenizerBase", configured: int | Sequence[int] | None) -> tuple[int, ...]:
    """Every token that ends a completion: of the generation configuration, the tokenizer and the chat template.

    Args:
        tokenizer: of the model.
        configured: `eos_token_id` of the model's generation configuration.
    """
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, Sequence) else [configured])}
    if tokenizer.chat_template:
        ends.add(end_of_turn(tokenizer))
    return tuple(sorted(ends - {None}))


def configured_end(folder: Path) -> int | list[int] | None:
    """What ends a sequence by a model folder's generation configuration, or by the model's where it has none."""
    from transformers import AutoConfig, GenerationConfig

    local = {"local_files_only": True, "trust_remote_code": False}
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, **local).eos_token_id
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, **local)).eos_token_id


def empty_prompt_token(tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int]) -> int:
    """Stands for a prompt without tokens, which no model can be asked about: the first token of texts, else an end."""
    if tokenizer.bos_token_id is not None:
        return tokenizer.bos_token_id
    return ends[0] if ends else 0


def completion_texts(
    tokenizer: "PreTrainedTokenizerBase",
    completions: Sequence[Sequence[int]],
    ends: Sequence[int],
    stop: Sequence[str],
) -> list[str]:
    """What sampled tokens say: without the token that ended them, special tokens, and the first stop string with what
    follows it."""
    rows = [list(tokens[:-1] if tokens and tokens[-1] in ends else tokens) for tokens in completions]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [before_stop(text, stop) for text in texts]


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string."""
    return text[: min((at for string in stop if (at := text.find(string)) >= 0), default=len(text))]


def special_token_pattern(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str] | None:
    """Finds the strings that the tokenizer takes for special tokens, the longest first; None if it has none.

    An added token that the chat template writes, such as the `<｜User｜>` of some models, is one too, even where the
    tokenizer does not call it special.
    """
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return _finds_any(tokens | set(tokenizer.all_special_tokens) | _unmarked_control_tokens(tokenizer))


def _rendered_around(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], text: str, specials: re.Pattern[str]
) -> Prompt:
    """The prompt with special tokens only where the template itself puts them.

    The template is applied to place holders, so what it writes and what the contents hold can be told apart.
    """
    contents = [message["content"] for message in messages]
    mark = _SENTINEL
    while any(mark in content for content in contents):
        mark += _SENTINEL
    holders = [f"{mark}{index};" for index in range(len(contents))]
    held = [message | {"content": holder} for message, holder in zip(messages, holders, strict=True)]
    parts = re.split(f"({mark}[0-9]+;)", _templated(tokenizer, held, add_generation_prompt=True))

    filled = dict(zip(holders, contents, strict=True))
    if "".join(filled.get(part, part) for part in parts) != text:  # Many templates strip contents.
        filled = {holder: content.strip() for holder, content in filled.items()}

    token_ids: list[int] = []
    plain = ""
    for part in parts:
        if part in filled:
            plain += filled[part]
            continue
        start = 0
        for special in specials.finditer(part):
            token_ids += _encoded_as_text(tokenizer, plain + part[start : special.start()])
            token_ids.append(tokenizer.convert_tokens_to_ids(special.group()))
            plain, start = "", special.end()
        plain += part[start:]
    token_ids += _encoded_as_text(tokenizer, plain)
    return Prompt("".join(filled.get(part, part) for part in parts), tuple(token_ids), tuple(messages))


def _templated(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], *, add_generation_prompt: bool
) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UserError(
            f"The model {tokenizer.name_or_path} has no chat template: use an instruction-tuned model, or add "
            "chat_template.jinja to its folder."
        )
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:
        raise UserError(f"The chat template of {tokenizer.name_or_path} refuses the messages: {error}.") from None


def _encoded(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _encoded_as_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Special tokens letter by letter. The tokenizer splits those that it calls special; the others are cut in two."""
    unmarked = _finds_any(_unmarked_control_tokens(tokenizer))
    cuts = [0, *(found.start() + 1 for found in unmarked.finditer(text)), len(text)] if unmarked else [0, len(text)]
    pieces = [text[start:end] for start, end in pairwise(cuts) if start < end]
    encoded = (tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"] for piece in pieces)
    return list(chain.from_iterable(encoded))


def _unmarked_control_tokens(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    template = tokenizer.chat_template or ""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if not token.special}
    return {content for content in added if content.strip() and content in template}


def _finds_any(strings: set[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True)))) if strings else None
