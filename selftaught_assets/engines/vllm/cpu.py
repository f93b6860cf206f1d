"""What vLLM has to be told on a machine without a GPU.

Belongs here: memory, blocks and prompts there. Not here: what it is told everywhere (base.py).
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from selftaught_assets.recipe.engines import VllmSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

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
    """What keys and values of so many whole contexts take; None for a model that is not made of attention alone."""
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
