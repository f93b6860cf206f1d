"""Conversations as token ids: the model's chat template around contents that stay plain text.

A response can hold `<|im_end|>` or any other special token as a string. If the tokenizer encoded it unchanged, it
would end the turn and let the text speak in another role. Which strings a tokenizer takes for special tokens depends
on its normaliser and its vocabulary, so nothing is concluded from the text: the tokens of every prompt are looked at.
Where they hold a special token that the template did not write, the prompt is encoded again by a copy of the tokenizer
in which special tokens have names of their own, that only the template's part of the text is given.
"""

import json
import logging
import re
import sys
from array import array
from collections.abc import Callable, Collection, Hashable, Sequence
from datetime import date as Date
from functools import cache, cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NamedTuple

from selftaught_assets.engines.protocol import Choice, Prompt
from selftaught_assets.engines.tokenizer_files import require_bounded_tokenizer
from selftaught_assets.errors import UserError, refused_as
from selftaught_assets.method.limits import MOST_CHARACTERS, BoundedSandbox, EndlessError, limited
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.startup import import_quickly

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[dict[str, str]]

_MARK = "".join(map(chr, SystemRandom().sample(range(0xF0000, 0xFFFFD), 8)))
"""Where contents begin and end: characters for private use that nobody who writes a text knows. A mark that were looked
for could run out, in a text that holds them all, and each new one would cost a copy of the tokenizer."""
_LARGEST_ID = 2**31
_REMEMBERED_BYTES = 2**27
"""Of the prompts that are remembered: RewardBench in both orders."""
_READS_THE_DATE = re.compile(r"\b(strftime_now|date_string)\b")
_logger = logging.getLogger(__name__)


class TrainingExample(NamedTuple):
    """A conversation and the completion to learn, in the tokens that sampling sees and draws."""

    prompt_ids: list[int]
    completion_ids: list[int]


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, without the model: never from the network, never code.

    Raises:
        UserError: `transformers` cannot load it, or it is far larger than any in use.
    """
    import_quickly("transformers.models.auto.tokenization_auto")
    from transformers import AutoTokenizer

    require_bounded_tokenizer(folder)
    with refused_as(f"The tokenizer of {folder} cannot be loaded"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def render(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Messages,
    date: Date = TEMPLATE_DATE,
    reply: str = "",
    choices: Sequence[str] = (),
) -> Prompt:
    """The conversation with the turn handed to the assistant; without messages, the opening of the user's turn.

    Args:
        tokenizer: of the model.
        messages: the turns so far. If there are none, what the model writes next is what a user would ask.
        date: what a template that asks for the date is told, on every day.
        reply: what the assistant has said of its turn already: plain text, in the tokens that `training_example` gives.
        choices: if there are any, what its completion may be.

    Raises:
        UserError: the tokenizer has no chat template; or the template refuses the messages, or drops or changes what
            they say; or the tokenizer cannot keep it plain text; or one token does not tell the choices apart.
    """
    if reply or choices:
        return _continued(tokenizer, render(tokenizer, messages, date), date, reply, choices)
    specials = _special_tokens(tokenizer)
    if specials.reads_the_date:
        _say_the_date(tokenizer.name_or_path, date)
    told = date, *(tuple(message.items()) for message in messages)
    if (known := specials.rendered.get(told)) is None:
        if messages:
            pieces = _pieces(tokenizer, messages, date, add_generation_prompt=True)
        else:
            anything = [{"role": "user", "content": "Hello."}]
            pieces = _pieces(tokenizer, anything, date, add_generation_prompt=False)[:1]
        known = "".join(pieces), array("i", specials.encoded(pieces))
        specials.rendered.add(told, known)
    text, token_ids = known
    return Prompt(text, tuple(token_ids), tuple(messages))


def _continued(
    tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, date: Date, reply: str, choices: Sequence[str]
) -> Prompt:
    """The prompt with a reply behind it, as far as the tokens of all choices agree."""
    pieces = _pieces(tokenizer, prompt.messages, date, add_generation_prompt=True)
    specials = _special_tokens(tokenizer)
    written = [specials.continued(pieces, reply + choice) for choice in choices or ("",)]
    common = beginning(written)
    firsts = [ids[len(common)] for ids in written if len(ids) > len(common)]
    if choices and len(set(firsts)) < len(choices):
        raise UserError(
            f"The tokenizer of {tokenizer.name_or_path} does not tell {', '.join(choices)} apart by one token, so none "
            "of them can be drawn: set `verdicts.elicit: never`, or another `verdicts.format`."
        )
    return prompt._replace(
        text=prompt.text + reply,
        token_ids=(*prompt.token_ids, *common),
        reply=reply,
        choices=tuple(map(Choice, choices, firsts)),
    )


def beginning(of: Sequence[Sequence[Any]]) -> list[Any]:
    """What several sequences begin with alike."""
    return [some[0] for some in takewhile(lambda some: len(set(some)) == 1, zip(*of, strict=False))]


def training_example(
    tokenizer: "PreTrainedTokenizerBase", messages: Messages, completion: str, date: Date = TEMPLATE_DATE
) -> TrainingExample:
    """The tokens to learn from: the prompt as `render` gives it, the completion as it is drawn, the end of the turn.

    A completion is text, so its special tokens are spelled. An added token that is not special, such as the `</think>`
    of some models, stays in the text of a completion, so it is the one token there that the model drew.

    Raises:
        UserError: as `render`, or the model has no token that ends a turn.
    """
    end = end_of_turn(tokenizer)
    if end is None:
        raise UserError(
            f"The tokenizer of {tokenizer.name_or_path} has no token that ends a turn: set its `eos_token`, or close "
            "the assistant's turn in its chat template."
        )
    pieces = _pieces(tokenizer, messages, date, add_generation_prompt=True)
    specials = _special_tokens(tokenizer)
    return TrainingExample(specials.encoded(pieces), [*specials.continued(pieces, completion), end])


def end_of_turn(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token that closes the assistant's turn: the first special one that the template puts after it, else eos."""
    return _special_tokens(tokenizer).end_of_turn


def end_tokens(tokenizer: "PreTrainedTokenizerBase", configured: int | Sequence[int] | None) -> tuple[int, ...]:
    """Every token that ends a completion: of the generation configuration, the tokenizer and the chat template.

    Args:
        tokenizer: of the model.
        configured: `eos_token_id` of the model's generation configuration.

    Raises:
        UserError: `configured` is no token id, or the chat template cannot be applied.
    """
    numbers = list(configured) if isinstance(configured, list | tuple) else [configured]
    if any(type(number) is not int or abs(number) > _LARGEST_ID for number in numbers if number is not None):
        raise UserError(
            f"The generation configuration of {tokenizer.name_or_path} has eos_token_id {configured!r}, which is not "
            "a token id: write a number, or a list of numbers."
        )
    ends = {tokenizer.eos_token_id, *numbers}
    if tokenizer.chat_template:
        ends.add(end_of_turn(tokenizer))
    return tuple(sorted(ends - {None}))


def configured_end(folder: Path) -> int | list[int] | None:
    """What ends a sequence by a model folder's generation configuration, or by the model's where it has none.

    Raises:
        UserError: `transformers` cannot read it.
    """
    from transformers import AutoConfig, GenerationConfig

    local = {"local_files_only": True, "trust_remote_code": False}
    with refused_as(f"The configuration of the model {folder} cannot be read"):
        if (folder / "generation_config.json").is_file():
            return GenerationConfig.from_pretrained(folder, **local).eos_token_id
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, **local)).eos_token_id


def configured_context(folder: Path) -> int | None:
    """The positions that a model folder's configuration gives it; None where it says nothing, or cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return None  # Loading the model will tell why.
    return getattr(config.get_text_config(), "max_position_embeddings", None)


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
    return _finds_any(_called_special(tokenizer) | _named_by_template(tokenizer))


def plain_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The tokens of a text, with those that its special tokens stand for, and no others.

    Raises:
        UserError: the tokenizer cannot read it.
    """
    with refused_as(f"The tokenizer of {tokenizer.name_or_path} cannot read a text"):
        return tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]


def _pieces(
    tokenizer: "PreTrainedTokenizerBase", messages: Messages, date: Date, *, add_generation_prompt: bool
) -> list[str]:
    """What the template writes and what the contents say, in turn: template, content, template, …, template.

    Contents are marked, so that they can be told apart. A template may strip them; one that wants the parts of a
    message instead of its text, as those of models with images do, gets parts.
    """
    contents = [message["content"] for message in messages]
    refusal, read_otherwise = None, None

    def templated(handed_over: Callable[[str], object], given: Sequence[str]) -> str:
        turns = [message | {"content": handed_over(text)} for message, text in zip(messages, given, strict=True)]
        return _templated(tokenizer, turns, date, add_generation_prompt=add_generation_prompt)

    for handed_over in (_as_text, _as_parts):
        try:
            text = templated(handed_over, contents)
            for given in (contents, [content.strip() for content in contents]):  # Many templates strip contents.
                pieces = templated(handed_over, [f"{_MARK}{content}{_MARK}" for content in given]).split(_MARK)
                if len(pieces) % 2 and set(pieces[1::2]) == set(given):
                    if "".join(pieces) == text:
                        return pieces
                    read_otherwise = read_otherwise or pieces  # What it writes depends on what it reads.
        except UserError as error:
            if isinstance(error.__cause__, EndlessError):
                raise  # The other form would take as long.
            refusal = refusal or error
    if read_otherwise is not None:
        return read_otherwise
    raise refusal or UserError(
        f"The chat template of {tokenizer.name_or_path} drops or changes the text of a message, so the model would not "
        f"see it ({', '.join(sorted({message['role'] for message in messages}))}: "
        f"{_shortened(contents[0])!r}): correct its chat_template.jinja."
    )


def _as_text(content: str) -> str:
    return content


def _as_parts(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


def _templated(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, Any]], date: Date, *, add_generation_prompt: bool
) -> str:
    if not tokenizer.chat_template:
        raise UserError(
            f"The model {tokenizer.name_or_path} has no chat template: use an instruction-tuned model, or add "
            "chat_template.jinja to its folder."
        )
    with refused_as(f"The chat template of {tokenizer.name_or_path} refuses the messages"):
        _bound_templates()
        text = limited(
            tokenizer.apply_chat_template,
            list(messages),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            strftime_now=date.strftime,  # Instead of the clock that transformers gives to templates.
            date_string=date.strftime("%d %b %Y"),
        )
        if len(text) > MOST_CHARACTERS:
            raise EndlessError(
                f"it writes {len(text):,} characters, of which no model reads more than {MOST_CHARACTERS:,}"
            )
        return text


@cache
def _bound_templates() -> None:
    """Lets `transformers` run chat templates in our sandbox, which refuses more: it takes none from outside."""
    from transformers.utils import chat_template_utils

    chat_template_utils.ImmutableSandboxedEnvironment = BoundedSandbox


@lru_cache(maxsize=8)
def _say_the_date(name: str, date: Date) -> None:
    _logger.warning(
        "The chat template of %s asks for the date: it gets %s on every day (`template_date` in the recipe).",
        name,
        date.isoformat(),
    )


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> "_SpecialTokens":
    """What is known of the tokenizer's special tokens, as it is now."""
    return _examined(tokenizer, str(tokenizer.chat_template), len(tokenizer), tuple(tokenizer.all_special_tokens))


@lru_cache(maxsize=8)
def _examined(tokenizer: "PreTrainedTokenizerBase", *_: object) -> "_SpecialTokens":
    return _SpecialTokens(tokenizer)


class _Rendered:
    """The newest prompts of a tokenizer: asked for again, as the judge is wave by wave, they need not be encoded again.

    They are kept as small as they are without Python's objects. A token can stand for any number of characters, so
    these are counted, too.
    """

    def __init__(self) -> None:
        self._prompts: dict[Hashable, tuple[str, array]] = {}
        self._bytes = 0

    def get(self, told: Hashable) -> tuple[str, array] | None:
        """Text and token ids of what was rendered, if it is known still; then it is the newest again."""
        if (known := self._prompts.pop(told, None)) is not None:
            self._prompts[told] = known
        return known

    def add(self, told: Hashable, prompt: tuple[str, array]) -> None:
        """Keeps a prompt, and of those before it so many that they hold `_REMEMBERED_BYTES` together."""
        self._prompts[told] = prompt
        self._bytes += _bytes_of(*prompt)
        while self._bytes > _REMEMBERED_BYTES and self._prompts:
            self._bytes -= _bytes_of(*self._prompts.pop(next(iter(self._prompts))))


def _bytes_of(text: str, token_ids: array) -> int:
    """The text is kept twice: in the messages that it was made of, too."""
    return 2 * sys.getsizeof(text) + sys.getsizeof(token_ids)


class _SpecialTokens:
    """The special tokens of a tokenizer, and encoding by it in which none of them comes out of plain text."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._pattern = special_token_pattern(tokenizer)
        strings = sorted(_called_special(tokenizer) | _named_by_template(tokenizer))
        self._ids: dict[str, int] = dict(zip(strings, tokenizer.convert_tokens_to_ids(strings), strict=True))
        self._unknown = _token_of_the_unknown(tokenizer)
        self._watched = {token for string, token in self._ids.items() if string != self._unknown}
        self._written_by: tuple[list[str], list[int]] = [], []
        self._names = {string: f"{_MARK}{number};" for number, string in enumerate(self._ids)}
        self.rendered = _Rendered()
        self.reads_the_date = bool(_READS_THE_DATE.search(str(tokenizer.chat_template)))

    def encoded(self, pieces: Sequence[str]) -> list[int]:
        """The tokens of a template with contents, as `_pieces` tells them apart.

        Raises:
            UserError: contents cannot be kept plain text.
        """
        ids = plain_ids(self._tokenizer, "".join(pieces))
        expected = self._written(pieces[::2])
        if self._among(ids) == expected and not self._named_in(pieces[1::2]):
            return ids
        ids = self._renaming.encode("".join(self._with_names(pieces)), add_special_tokens=False).ids
        if self._among(ids) != expected:
            raise self._not_kept()
        return ids

    def continued(self, pieces: Sequence[str], completion: str) -> list[int]:
        """The tokens of a completion behind a prompt, those by which its text was made: its own are tried in turn.

        Raises:
            UserError: the completion cannot be kept plain text.
        """
        prompt = "".join(self._with_names(pieces))
        last = max((prompt.rfind(name) for name in self._names.values()), default=-1)
        context = pieces[-1] if last < 0 else prompt[last:]
        text = self._drawn.sub(lambda found: self._names[found.group()], completion) if self._drawn else completion

        before, whole = (
            self._renaming.encode(part, add_special_tokens=False).ids for part in (context, context + text)
        )
        behind = whole[len(before) :] if whole[: len(before)] == before else None
        ids = behind
        if behind is None or self._decoded(behind) != completion:
            alone = self._renaming.encode(text, add_special_tokens=False).ids
            ids = alone if behind is None or self._decoded(alone) == completion else behind
        drawn = [self._ids[string] for string in self._drawn.findall(completion)] if self._drawn else []
        if self._among(ids) != drawn:
            raise self._not_kept()
        return ids

    @cached_property
    def end_of_turn(self) -> int | None:
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            after = _pieces(self._tokenizer, messages, TEMPLATE_DATE, add_generation_prompt=False)[-1]
        except UserError:
            if not self._tokenizer.chat_template:
                raise
            after = ""  # The template is of questions alone.
        found = self._pattern.search(after) if self._pattern else None
        return self._ids[found.group()] if found else self._tokenizer.eos_token_id

    @cached_property
    def _drawn(self) -> re.Pattern[str] | None:
        """Finds what stays in the text of a completion though it is one token, but for what opens a user's turn."""
        named = _named_by_template(self._tokenizer) - _called_special(self._tokenizer)
        if not named:
            return None
        turn = _pieces(self._tokenizer, [{"role": "user", "content": "a"}], TEMPLATE_DATE, add_generation_prompt=False)
        return _finds_any({string for string in named if not any(string in piece for piece in turn[::2])})

    def _written(self, template: list[str]) -> list[int]:
        """The special tokens that the template writes, around whatever contents."""
        if self._written_by[0] != template:
            self._written_by = template, self._among(plain_ids(self._tokenizer, "a".join(template)))
        return self._written_by[1]

    def _among(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self._watched]

    def _named_in(self, contents: Sequence[str]) -> bool:
        """Whether a content names the token of unknown text: its id does not tell which of the two it comes from."""
        return self._unknown is not None and any(self._unknown in content for content in contents)

    def _with_names(self, pieces: Sequence[str]) -> list[str]:
        """The pieces, with the special tokens of the template by their names."""
        if self._pattern is None:
            return list(pieces)
        named = [self._pattern.sub(lambda found: self._names[found.group()], piece) for piece in pieces[::2]]
        return [named[index // 2] if index % 2 == 0 else piece for index, piece in enumerate(pieces)]

    @cached_property
    def _renaming(self) -> "Tokenizer":
        """A copy of the tokenizer that knows special tokens by their names alone."""
        if not self._tokenizer.is_fast:
            raise self._not_kept()
        return _copy_with_names(self._tokenizer.backend_tokenizer, self._names)

    def _decoded(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _not_kept(self) -> UserError:
        return UserError(
            f"The tokenizer of {self._tokenizer.name_or_path} turns plain text into special tokens, so a response "
            "could end its turn and speak for the judge: use a model with a tokenizer.json of a usual kind."
        )


def _copy_with_names(tokenizer: "Tokenizer", names: dict[str, str]) -> "Tokenizer":
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    state |= {"post_processor": None, "truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = state["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): token for piece, token in vocabulary.items()}
    else:  # Unigram: pieces with their scores, in the order of their ids.
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.keys().isdisjoint([*pair, "".join(pair)])]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return Tokenizer.from_str(json.dumps(state))


def _called_special(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {string for string in added | set(tokenizer.all_special_tokens) if string}


def _named_by_template(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    text = _template_text(tokenizer)
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if not token.special}
    return {content for content in added if content.strip() and content in text}


def _template_text(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The chat template, or all of them."""
    template = tokenizer.chat_template or ""
    return template if isinstance(template, str) else "\n".join(template.values())


def _token_of_the_unknown(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """The token that text comes to which the vocabulary lacks, unless it means something else, too."""
    others = {string for name, string in tokenizer.special_tokens_map.items() if name not in ("unk_token", "pad_token")}
    unknown = tokenizer.unk_token
    return None if unknown in others else unknown


def _finds_any(strings: Collection[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True)))) if strings else None
