"""Tiny random models of several architectures with a byte-level tokenizer: real ones, only small and untrained."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from selftaught_assets.engines.embedded.engine import TransformersEngine
from selftaught_assets.engines.factory import OpenEngine, open_in_turn
from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.engines.ray import cluster
from selftaught_assets.engines.ray.cluster import connected
from selftaught_assets.engines.vllm.base import cpu_arguments
from selftaught_assets.recipe.engines import RaySettings, SamplingParameters, TransformersSettings
from selftaught_assets.storage.models import ModelReference
from selftaught_assets_tests.engines.conformance import SEED, VLLM_SETTINGS, train_owl
from selftaught_assets_tests.engines.processes import alive, children, command

CONTEXT = 128
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 256 + len(SPECIAL_TOKENS)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": VOCABULARY,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA_SIZES = SIZES | {"intermediate_size": 96, "num_attention_heads": 4, "max_position_embeddings": CONTEXT}
GPT2_SIZES = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "vocab_size": VOCABULARY}
CONFIGS = {
    "llama": LlamaConfig(**LLAMA_SIZES),
    "qwen2_grouped": Qwen2Config(**LLAMA_SIZES, num_key_value_heads=2),
    "gpt2": GPT2Config(**GPT2_SIZES, bos_token_id=None, eos_token_id=None),
    "gemma2_sliding": Gemma2Config(**LLAMA_SIZES, num_key_value_heads=2, head_dim=16, sliding_window=16),
    "mistral": MistralConfig(**LLAMA_SIZES, num_key_value_heads=2, sliding_window=None),
    "mistral_sliding": MistralConfig(**LLAMA_SIZES, num_key_value_heads=2, sliding_window=16),
    "mamba": MambaConfig(**SIZES),
}
SHARED_PREFIX = ("llama", "mistral", "qwen2_grouped", "gpt2")
"""Architectures that the fast decoder runs; the others take the plain one."""
LLAMA_KIN = ("llama", "mistral", "qwen2_grouped")
"""Architectures whose forward pass is written out."""


def make_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A model with weights large enough for distributions that differ from token to token."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name])).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2.5)
    return model


def request(text: str = "", *, name: str = "r", n: int = 1, seed: int = 7, **sampling: object) -> Request:
    """Samples of a raw text; a byte is a token."""
    return request_of_ids(tuple(byte_ids(text)), name=name, n=n, seed=seed, **sampling)


def request_of_ids(ids: tuple[int, ...], *, name: str = "r", n: int = 1, seed: int = 7, **sampling: object) -> Request:
    """Samples of a prompt given as tokens."""
    return Request(name, Prompt("", ids), SamplingParameters(**sampling), seed, tuple(range(n)))


def byte_ids(text: str) -> list[int]:
    """Tokens of a text, as plain text."""
    return make_tokenizer()(text, split_special_tokens=True)["input_ids"]


def by_sample(completions: object) -> dict[tuple[str, int], Completion]:
    """Completions by request and sample, but for what their neighbours spared them; fails if one comes twice."""
    found = {}
    for completion in completions:
        key = completion.request_id, completion.sample_index
        assert key not in found
        found[key] = completion._replace(shared_prompt_tokens=0)
    return found


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def make_engine(tokenizer: PreTrainedTokenizerFast) -> Callable[..., TransformersEngine]:
    def make(name: str = "llama", max_rows: int = 64, seed: int = 0) -> TransformersEngine:
        return TransformersEngine(make_model(name, seed), tokenizer, f"{name}-{seed}", max_rows)

    return make


@pytest.fixture(scope="session")
def engine(make_engine: Callable[..., TransformersEngine]) -> TransformersEngine:
    return make_engine()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A Llama as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def owl(tmp_path_factory: pytest.TempPathFactory) -> ModelReference:
    """An adapter on the seed model that knows one answer by heart."""
    return train_owl(tmp_path_factory.mktemp("owl"))


class OpenedVllm(NamedTuple):
    """vLLM in processes of its own, which serves the seed model and the owl; what there was before."""

    open_model: OpenEngine
    before: set[psutil.Process]
    environment: dict[str, str]
    close: Callable[[], None]


@pytest.fixture(scope="session")
def opened_vllm(owl: ModelReference) -> Iterator[OpenedVllm]:
    """Started once: the conformance suite asks it, and after that vllm/test_engine.py kills its processes."""
    import vllm  # noqa: F401  # It sets variables for good when it is imported.

    before, variables = children(), environment()
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.delenv("VLLM_CPU_KVCACHE_SPACE")  # It would overrule the share of the memory.
            patched.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
            assert "kv_cache_memory_bytes" not in cpu_arguments(VLLM_SETTINGS, SEED.base, "float32")
            open_model = stack.enter_context(open_in_turn(VLLM_SETTINGS, [SEED, owl]))
        yield OpenedVllm(open_model, before, variables, stack.close)


def environment() -> dict[str, str]:
    """Variables of this process, but for the one in which pytest names the test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RaySettings]:
    """A local cluster that all engines of this process join; settings of one with two actors.

    When the last engine has ended, so has the cluster: no process and no file of it is left.
    """
    settings = RaySettings(name="ray", engine=TransformersSettings(device="cpu"), replicas=2, cpus=0.25)
    with connected(settings):
        yield settings
        folder = Path(cluster._connection.folder)
        masters = [process for process in children() if folder.name in command(process)]
        assert masters
        of_ray = [*masters, *(child for master in masters for child in master.children(recursive=True))]
    psutil.wait_procs(of_ray, timeout=120)
    assert not any(map(alive, of_ray))
    assert not folder.exists()


@pytest.fixture(scope="session")
def one_actor(ray_cluster: RaySettings) -> RaySettings:
    """Settings with which an actor is started once, not twice. What several do: ray/test_engine.py."""
    return ray_cluster.model_copy(update={"replicas": 1})
