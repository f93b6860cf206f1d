"""What every text-generation engine promises: requests in, completions out as they finish.

Belongs here: the Engine protocol and the values that cross it. Not here: how prompts are rendered (chat.py), how
completions are remembered (journalled.py, storage/journal.py), or any one engine.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date as Date
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

FinishReason = Literal["stop", "length", "prompt_too_long", "failed"]
"""`failed`: the engine gave up on this sample for good; `error` says why, and a later run asks for it again."""


TEMPLATE_DATE = Date(2024, 7, 26)
"""What a chat template that asks for the date is told, unless the recipe says otherwise: the one that the templates of
Llama 3 fall back to."""


class SamplingParameters(BaseModel):
    """How to draw a completion. Temperature 0 is greedy decoding; then top_p and the seed have no effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)
    stop: tuple[str, ...] = ()


class Prompt(NamedTuple):
    """A rendered conversation: as text for people, as token ids for engines and servers that take those."""

    text: str
    token_ids: tuple[int, ...]
    messages: tuple[dict[str, str], ...] = ()
    """What was rendered, for servers that insist on rendering it themselves."""


@dataclass(frozen=True)
class Request:
    """Completions wanted of one prompt: one for each sample index.

    The random stream of a sample is a function of (seed, sample index) alone, never of its place in a batch,
    so callers give different prompts different seeds.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    seed: int
    sample_indices: tuple[int, ...]


class Completion(NamedTuple):
    """One sampled text. `text` excludes the end-of-turn token and the stop string; `completion_tokens` counts them."""

    request_id: str
    sample_index: int
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    shared_prompt_tokens: int = 0
    """Of the prompt's tokens, those that were not computed for this sample: the cache of another one had them."""
    error: str | None = None
    """Why it failed, in one sentence; null unless the finish reason is `failed`."""


class Engine(Protocol):
    """A loaded model that completes prompts."""

    model_digest: str
    """Digest of the model: base and adapter, as files."""
    identity: str
    """What the journal knows its completions by: a digest of the model's and of the dtype that it computes in; for a
    remote server, of the model's and of what the recipe says is served there."""
    capacity: int
    """Samples that it works on together; fewer leave it partly idle."""

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text.

        `date` is what a template that asks for the date is told.
        """
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index)."""
        ...

    def close(self) -> None:
        """Gives the memory back. The engine is of no use afterwards."""
        ...
