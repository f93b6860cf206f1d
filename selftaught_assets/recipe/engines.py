"""The sections `engine` and `journal` of a recipe: how text is sampled, and where completions are stored.

One line is enough (`engine: vllm`); a mapping with `name` sets the rest. The tables do not depend on the engine, so
no asset becomes stale when it changes.
"""

from datetime import date as Date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fsspec import available_protocols
from pydantic import AfterValidator, BeforeValidator, Field

from selftaught_assets.recipe.fields import Section

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Of weights and activations; `auto`: bfloat16 on a GPU, float32 on a CPU."""


TEMPLATE_DATE = Date(2024, 7, 26)
"""What a chat template that asks for the date is told, unless the recipe says otherwise: the one that the templates of
Llama 3 fall back to."""


class SamplingParameters(Section):
    """How to draw a completion. Temperature 0 is greedy decoding; then top_p and the seed have no effect."""

    temperature: float = Field(0.7, ge=0)
    """Higher ones give more varied texts."""
    top_p: float = Field(0.9, gt=0, le=1)
    """The share of the probability that is drawn from."""
    max_tokens: int = Field(512, ge=1)
    """Longer completions are cut off."""
    stop: tuple[str, ...] = ()
    """Texts at which a completion ends."""


class TransformersSettings(Section):
    """The embedded engine: any causal model that `transformers` loads, in the step's own process, on one device."""

    name: Literal["transformers"] = "transformers"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU if PyTorch sees one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of weights and activations; `auto`: bfloat16 on a GPU, float32 on a CPU."""
    max_rows: int = Field(512, ge=1)
    """Sequences decoded together: more is faster until memory is full."""


class VllmSettings(Section):
    """vLLM in the step's own process (it starts processes of its own), on one or several devices of this machine."""

    name: Literal["vllm"]
    dtype: Dtype = "auto"
    """Of weights and activations; `auto`: bfloat16 on a GPU, float32 on a CPU."""
    max_rows: int = Field(256, ge=1)
    """Sequences decoded together, at most; vLLM's `max_num_seqs`."""
    tensor_parallel_size: int = Field(1, ge=1)
    """Devices that one copy of the model is spread over."""
    context: int | None = Field(None, ge=8)
    """Tokens of prompt and completion together; null is the model's own. A shorter one leaves more room for rows."""
    memory_share: float = Field(0.9, gt=0, le=1)
    """Of each device's memory that vLLM takes: weights, activations and KV cache together. On a CPU, of the memory that
    is free when it starts, and no larger a KV cache than `max_rows` whole contexts fill; the environment variable
    VLLM_CPU_KVCACHE_SPACE (GiB of KV cache) overrules it there."""
    eager: bool = False
    """Without compilation and CUDA graphs: starts sooner, samples slower."""


class OpenAISettings(Section):
    """Any OpenAI-compatible server, for instance one that another team runs."""

    name: Literal["openai"]
    address: str = Field(pattern=r"^https?://[^\s?#@]+$")
    """As clients take it: with the version, such as http://127.0.0.1:8000/v1; without a key or a password."""
    model: str = Field(min_length=1)
    """The name under which the server has the recipe's seed model."""
    identity: str = Field(min_length=1)
    """What is served there, as exactly as you know it: model, revision, quantisation. A name says nothing about
    weights, so completions are remembered under this text together with the digest of the judge; change it whenever
    the server's weights change."""
    api: Literal["completions", "chat"] = "completions"
    """`completions` sends the tokens of the prompt as we rendered it; `chat` sends the messages, for servers that have
    nothing else: the server's own template then applies, and it alone decides what special tokens in a text do."""
    adapters: Literal["load", "named"] = "load"
    """How the judges of later iterations are reached. `load`: the server reads the checkpoint's folder (vLLM with
    --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 on a shared disk); `named`: its operator has put each
    checkpoint there under the first 16 digits of its digest."""
    key_variable: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the key. Never the key itself."""
    max_rows: int = Field(64, ge=1)
    """Requests in flight, at most."""
    timeout_seconds: float = Field(600, gt=0)
    """For one try of a request."""
    attempts: int = Field(6, ge=1)
    """Tries of a request, with growing pauses, before it counts as failed."""


class RaySettings(Section):
    """Ray actors with one of the other engines each: several devices, or several machines."""

    name: Literal["ray"]
    engine: Annotated[TransformersSettings | VllmSettings | OpenAISettings, Field(discriminator="name")]
    """What each actor holds. Its paths must exist wherever an actor runs."""
    address: str | None = None
    """Of a running cluster (`auto` finds the one of this machine); null starts a local one and ends it afterwards."""
    replicas: int = Field(1, ge=1)
    """Actors, each with a whole copy of the model."""
    cpus: float = Field(1, ge=0)
    """For each replica."""
    gpus: float = Field(0, ge=0)
    """For each replica."""


class AutoSettings(Section):
    """vLLM if it is installed and there is a GPU, else the embedded engine; both with their defaults."""

    name: Literal["auto"]


def _named(value: object) -> object:
    """`engine: vllm` means `engine: {name: vllm}`, and a mapping without a name is about the embedded engine."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "name" not in value:
        return {"name": "transformers", **value}
    return value


_AnyEngine = Annotated[
    TransformersSettings | VllmSettings | OpenAISettings | RaySettings | AutoSettings, Field(discriminator="name")
]
_ByName = Literal["transformers", "vllm", "openai", "ray", "auto"]
EngineSettings = Annotated[_AnyEngine, BeforeValidator(_named, json_schema_input_type=_AnyEngine | _ByName)]


_ON_DISK = ("file", "local")


def _place(value: str | Path) -> str | Path:
    if "://" not in str(value):
        return Path(value)
    address = urlsplit(str(value))
    return Path(address.path) if address.scheme in _ON_DISK else str(value).rstrip("/")


Place = Annotated[str | Path, AfterValidator(_place)]
"""A folder, or the address of an object store, as fsspec writes it. Endpoint and credentials are the environment's."""


def require_place(place: str | Path | None) -> None:
    """Checks an address.

    Raises:
        ValueError: fsspec knows no such storage, the address is not whole, or it holds a password (the message does
            not).
    """
    if not isinstance(place, str):
        return
    address = urlsplit(place)
    if address.password is not None:
        raise ValueError("`journal` holds a password: credentials belong in the environment, never in a recipe")
    if address.scheme not in available_protocols():
        raise ValueError(f"`journal` is {place!r}, but fsspec knows no storage {address.scheme}://")
    if not address.netloc:
        raise ValueError(f"`journal` is {place!r}, which names no bucket")
