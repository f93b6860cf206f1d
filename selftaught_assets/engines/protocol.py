"""The protocol of all text-generation engines: requests in, completions out as they finish, in a known dtype.

Each engine computes in the dtype that the recipe or the machine chooses. What the journal knows a completion by names
that dtype too, since bfloat16 and float32 answer differently.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date as Date
from typing import Literal, NamedTuple, Protocol

from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import (
    TEMPLATE_DATE,
    Dtype,
    RaySettings,
    SamplingParameters,
    TransformersSettings,
    VllmSettings,
)

FinishReason = Literal["stop", "length", "prompt_too_long", "failed"]
"""`failed`: the engine gave up on this sample for good; `error` says why, and a later run asks for it again."""


class Choice(NamedTuple):
    """A text that a completion may be, and the token behind its prompt that tells it from the other choices."""

    text: str
    token: int


class Prompt(NamedTuple):
    """A rendered conversation: as text for people, as token ids for engines and servers that take those."""

    text: str
    token_ids: tuple[int, ...]
    messages: tuple[dict[str, str], ...] = ()
    """What was rendered, for servers that insist on rendering it themselves."""
    reply: str = ""
    """What the assistant has said of its turn already; the completion continues it."""
    choices: tuple[Choice, ...] = ()
    """Where there are any, the completion is one of their texts. One token is drawn: of theirs alone, each as likely as
    the model holds it to be among them. The token ids of the prompt then end before it, behind what all have in
    common."""


@dataclass(frozen=True)
class Request:
    """Completions wanted of one prompt: one for each sample index.

    The random stream of a sample is a function of (seed, sample index) alone, never of its place in a batch,
    so callers give different prompts different seeds.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    """Where the prompt has choices, its temperature alone."""
    seed: int
    sample_indices: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.prompt.choices:
            alone = SamplingParameters(temperature=self.sampling.temperature, top_p=1, max_tokens=1)
            object.__setattr__(self, "sampling", alone)


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

    def render(
        self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, reply: str = "", choices: Sequence[str] = ()
    ) -> Prompt:
        """Applies the model's chat template, with the turn handed to the assistant; content stays plain text.

        Args:
            messages: the turns so far. If there are none, the turn is the user's, so that the model writes what a user
                would ask.
            date: what a template that asks for the date is told.
            reply: what the assistant has said of its turn already, as plain text.
            choices: if there are any, what its completion may be.

        Raises:
            UserError: the template or the tokenizer refuses them, or one token does not tell the choices apart.
        """
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yields each completion as it finishes, in any order, exactly one for each (request, sample index)."""
        ...

    def close(self) -> None:
        """Frees the memory. The engine cannot be used afterwards."""
        ...


ON_GPU: Dtype = "bfloat16"
ON_CPU: Dtype = "float32"


def dtype_of(settings: TransformersSettings | VllmSettings) -> Dtype:
    """The dtype of an engine on this machine: by the recipe, or by whether PyTorch sees a GPU here."""
    if settings.dtype != "auto":
        return settings.dtype
    if isinstance(settings, TransformersSettings) and settings.device == "cpu":
        return ON_CPU
    import torch

    return ON_GPU if torch.cuda.is_available() else ON_CPU


def dtype_in_actors(settings: RaySettings) -> Dtype:
    """The dtype of an engine in Ray's actors, which run anywhere and see only the GPUs that the recipe gives them."""
    held = settings.engine
    if held.dtype != "auto":
        return held.dtype
    on_cpu = settings.gpus == 0 or (isinstance(held, TransformersSettings) and held.device == "cpu")
    return ON_CPU if on_cpu else ON_GPU


def identity(model_digest: str, dtype: str) -> str:
    """The journal's identity of a model in a dtype, since bfloat16 and float32 give different completions."""
    return digest("computed", model_digest, dtype)
