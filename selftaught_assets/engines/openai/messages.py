"""What is said to an OpenAI-compatible server, and what its answers mean.

Belongs here: bodies of requests and of answers, as pure functions. Not here: how they travel (client.py).
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from selftaught_assets.engines.drawing import stream_keys
from selftaught_assets.engines.protocol import Prompt, Request, SamplingParameters

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum context|(?:prompt|input)\b.{0,40}\btoo (?:long|large)"
    r"|maximum number of tokens|`inputs` (?:tokens|must have less)",
    re.IGNORECASE,
)
"""How vLLM, SGLang, llama.cpp, TGI and OpenAI say that a prompt does not fit, alone or with its completion."""
_CONTEXT = re.compile(r"context (?:length|size|window)(?: is| of|:)? \(?(\d+)", re.IGNORECASE)
_COUNTED = re.compile(r"(\d+) (?:input tokens|(?:tokens )?(?:in|from) (?:the |your )?(?:input|messages|prompt))", re.I)


_HALF_PAIR = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_TEXT_PARTS = ("text", "output_text")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
_MOST_TOKENS = 2**31
"""More are no count."""


class ServedModel(NamedTuple):
    """A model in the server's own list."""

    name: str
    context: int | None
    """Tokens of prompt and completion together, where the server tells."""
    is_vllm: bool


class Answer(NamedTuple):
    """One completion as the server gave it."""

    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt's tokens, those that the server had computed before; 0 where it does not tell."""
    token_ids: tuple[int, ...] | None
    """What was sampled, with the token that ended it, where the server tells."""
    problem: str | None = None
    """Why there is no text, as a clause. To ask again would bring the same, since the seed is the same."""


class Overflow(NamedTuple):
    """What a refusal says about a context that is too short. None: it does not say."""

    context: int | None
    prompt_tokens: int | None


@dataclass(frozen=True)
class Dialect:
    """How a server is asked for completions."""

    api: Literal["completions", "chat"]
    model: str
    empty_prompt_token: int
    """Stands for a prompt without tokens, which no server takes."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of this kind of server."""

    @property
    def path(self) -> str:
        return "completions" if self.api == "completions" else "chat/completions"

    def body(self, prompt: Prompt, sampling: SamplingParameters, seed: int, max_tokens: int) -> dict[str, Any]:
        """The request for one completion."""
        if self.api == "completions":
            asked = {"prompt": list(prompt.token_ids) or [self.empty_prompt_token]}
        else:
            asked = {"messages": list(prompt.messages)}
        return {
            "model": self.model,
            **asked,
            "n": 1,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            **self.extras,
        }

    def read(self, content: bytes) -> Answer:
        """The completion in an answer. Raises ValueError, with what is wrong, if it is not whole."""
        body = _json_object(content)
        try:
            choice, usage = body["choices"][0], body["usage"]
            said = choice["text"] if self.api == "completions" else choice["message"]["content"]
            counts = _count(usage["prompt_tokens"]), _count(usage["completion_tokens"])
            cached = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            reason, token_ids = choice["finish_reason"], _token_ids(choice.get("token_ids"))
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("it lacks the text, finish_reason or usage of a completion") from None
        if reason not in ("stop", "length", "content_filter"):
            raise ValueError(f"its finish_reason is {reason}")
        try:
            text, problem = _text(said), None
        except ValueError as error:
            text, problem = "", str(error)
        return Answer(text, reason, *counts, cached, token_ids, problem if token_ids is None else None)


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: JSON can hold one, no file can.

    Servers in languages whose strings are UTF-16 send them where a text is cut in the middle of an emoji.
    """
    return _HALF_PAIR.sub(_REPLACEMENT, text)


def vllm_extras(end_tokens: tuple[int, ...]) -> dict[str, Any]:
    """Fields that keep vLLM to the recipe (without them it takes what the model's generation_config.json suggests),
    and have it tell the tokens that it sampled.

    Args:
        end_tokens: that end a completion, besides those that the server knows.
    """
    return {
        "stop_token_ids": list(end_tokens),
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "return_token_ids": True,
    }


def sample_seed(request: Request, sample_index: int) -> int:
    """The seed of one sample, of 63 bits: a function of the request's seed and the sample index alone."""
    return int(stream_keys([request.seed], [sample_index])[0]) >> 1


def read_models(content: bytes) -> list[ServedModel]:
    """The models in a server's list; none if it is no such list."""
    try:
        return [
            ServedModel(
                model["id"],
                context if isinstance(context := model.get("max_model_len"), int) else None,
                model.get("owned_by") == "vllm",
            )
            for model in _json_object(content)["data"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def overflow(status: int, said: str) -> Overflow | None:
    """What a refusal says about the context; None if it is about something else."""
    if status not in (400, 413, 422) or not _TOO_LONG.search(said):
        return None
    return Overflow(*(int(found[1]) if (found := pattern.search(said)) else None for pattern in (_CONTEXT, _COUNTED)))


def _text(said: object) -> str:
    """What a completion says: a string, nothing, or parts of which some are the model's reasoning.

    Raises:
        ValueError: it is something else.
    """
    if said is None:
        return ""
    if isinstance(said, str):
        return whole_characters(said)
    if not isinstance(said, list):
        raise ValueError(f"its content is of the type {type(said).__name__}")
    return "".join(_text_of_part(part) for part in said)


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return whole_characters(part)
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if kind in _REASONING_PARTS:
        return ""
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return whole_characters(part["text"])
    raise ValueError(f"its content has a part of the type {whole_characters(str(kind))}, which is no text")


def _token_ids(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(token) is int and 0 <= token < _MOST_TOKENS for token in value):
        raise ValueError("its token_ids are no tokens")
    return tuple(value)


def _count(value: object) -> int:
    """Raises ValueError where it is no number of tokens; a whole number may be a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_TOKENS:
        raise ValueError("its usage has no numbers of tokens")
    return int(value)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    return body
