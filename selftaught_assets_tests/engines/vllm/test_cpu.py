"""What vLLM is told on a machine without a GPU."""

import pytest
from transformers import GPT2Config, LlamaConfig, MambaConfig

from selftaught_assets.engines.vllm.base import cache_bytes, cpu_arguments
from selftaught_assets.recipe.engines import VllmSettings
from selftaught_assets_tests.engines.conformance import SEED
from selftaught_assets_tests.engines.processes import VLLM, needs_vllm

pytestmark = pytest.mark.xdist_group(VLLM)
SETTINGS = VllmSettings(name="vllm", context=512, max_rows=64)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


def test_the_cache_of_grouped_heads_counts_those_that_keys_and_values_have() -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8}
    grouped = LlamaConfig(**sizes, num_key_value_heads=2)
    assert cache_bytes(grouped, 3, 64, 2) == (3 + 1) * 64 * (2 * 3 * 2 * 8) * 2
    assert cache_bytes(LlamaConfig(**sizes), 3, 64, 2) == 4 * cache_bytes(grouped, 3, 64, 2)


def test_a_context_is_counted_in_whole_blocks() -> None:
    config = GPT2Config()
    assert cache_bytes(config, 8, 33, 4) == cache_bytes(config, 8, 64, 4) > cache_bytes(config, 8, 32, 4)


def test_a_model_without_attention_has_no_such_cache() -> None:
    assert cache_bytes(MambaConfig(), 8, 64, 4) is None


@needs_vllm
def test_a_small_model_takes_a_cache_for_its_rows_and_no_share_of_the_memory() -> None:
    few, many = (
        cpu_arguments(SETTINGS.model_copy(update={"max_rows": rows}), SEED.base, "float32")["kv_cache_memory_bytes"]
        for rows in (31, 63)
    )
    assert many == 2 * few < 2**30


@needs_vllm
def test_where_the_cache_of_all_rows_is_too_large_the_share_counts() -> None:
    settings = SETTINGS.model_copy(update={"max_rows": 100_000})
    arguments = cpu_arguments(settings, SEED.base, "float32")
    assert "kv_cache_memory_bytes" not in arguments
    assert 0 < arguments["gpu_memory_utilization"] < settings.memory_share


@needs_vllm
def test_the_environment_overrules_the_size_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    assert "kv_cache_memory_bytes" not in cpu_arguments(SETTINGS, SEED.base, "float32")
