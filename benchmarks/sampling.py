"""How fast the embedded engine samples, beside plain `model.generate(num_return_sequences=n)`.

Both sides get the same model, the same requests, the same sampling parameters and the same end-of-turn tokens, and only
tokens that belong to a completion are counted (its end-of-turn token too, padding never). `generate` runs at its best
batch size, which a first round over a part of the requests finds, over prompts sorted by length. Then the two take
turns, and medians are compared.

Short requests are the demo's judge requests, n = 8. Long ones are several of them in a row, cut to 300 tokens, n = 15.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.measuring import Result, Side, compared, in_turn
from selftaught_assets.engines.embedded.engine import TransformersEngine, load_engine
from selftaught_assets.engines.protocol import Prompt, Request
from selftaught_assets.method.prompts import judge_messages
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.storage.models import reference_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONG_TOKENS = 300
TRIED_ROWS = (32, 64, 128, 256)
"""Batch sizes of `generate` in sequences."""
TRIAL_PROMPTS = 32


def run(*, small: bool, rounds: int, model: Path | None = None) -> dict[str, Result]:
    """Both benchmarks, on the recipe's seed model or another one."""
    recipe = load_recipe("demo")
    short, long = (8, 2) if small else (544, 64)
    engine, plain, tokenizer = load_both(recipe, model or recipe.seed_model)
    parameters = sum(weights.numel() for weights in plain.parameters())
    print(f"{torch.get_num_threads()} threads, {parameters:,} parameters, {plain.dtype}")
    requests = {
        "sampling_transformers": short_requests(recipe, engine, short, n=8),
        "sampling_transformers_long": long_requests(recipe, engine, long, n=15),
    }
    return {name: compare(name, engine, plain, tokenizer, some, rounds) for name, some in requests.items()}


def load_both(recipe: Recipe, folder: Path) -> "tuple[TransformersEngine, PreTrainedModel, PreTrainedTokenizerBase]":
    """Our engine, and the same model loaded once more for `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = load_engine(recipe.engine, reference_model(folder))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=engine.dtype).to(engine.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model.generation_config.eos_token_id = list(engine.end_tokens)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return engine, model, tokenizer


def short_requests(recipe: Recipe, engine: TransformersEngine, count: int, n: int) -> list[Request]:
    """Judge requests over the recipe's first benchmark."""
    rows = [json.loads(line) for line in recipe.benchmarks[0].path.read_text(encoding="utf-8").splitlines()[:count]]
    prompts = [
        engine.render(judge_messages(recipe.templates, row["instruction"], row["response_a"], row["response_b"]))
        for row in rows
    ]
    return _as_requests(prompts, recipe, n)


def long_requests(recipe: Recipe, engine: TransformersEngine, count: int, n: int) -> list[Request]:
    """Judge requests in a row, cut to their last 300 tokens; each begins at another one."""
    parts = [request.prompt for request in short_requests(recipe, engine, 544, n)]
    prompts = []
    for index in range(count):
        ids: tuple[int, ...] = ()
        while len(ids) < LONG_TOKENS:
            ids = parts[(index * 11 + len(ids)) % len(parts)].token_ids + ids
        prompts.append(Prompt("", ids[-LONG_TOKENS:]))
    return _as_requests(prompts, recipe, n)


def compare(
    name: str,
    engine: TransformersEngine,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    requests: Sequence[Request],
    rounds: int,
) -> Result:
    """Measures both sides in turn."""
    completions = sum(len(request.sample_indices) for request in requests)
    prompt_tokens = sum(len(request.prompt.token_ids) for request in requests) / len(requests)
    print(f"\n{name}: {len(requests)} prompts of {prompt_tokens:.0f} tokens, {completions} completions")
    part = requests[:: max(len(requests) // TRIAL_PROMPTS, 1)]
    tried = dict.fromkeys(TRIED_ROWS, 0.0)
    for rows in TRIED_ROWS * 2:  # The better of two trials: a busy moment of the machine must not choose the size.
        tried[rows] = max(tried[rows], rate(lambda rows=rows: by_generate(model, tokenizer, part, rows)))
    print("generate by batch size: " + ", ".join(f"{rows}: {rate:,.0f}" for rows, rate in tried.items()))
    best = max(tried, key=lambda rows: tried[rows])
    by_engine(engine, requests)
    rates = in_turn(
        lambda: rate(lambda: by_engine(engine, requests)),
        lambda: rate(lambda: by_generate(model, tokenizer, requests, best)),
        rounds,
    )
    return compared(
        Side("ours", rates[0], "tokens/s"), Side(f"generate, {best} rows", rates[1], "tokens/s"), n=completions
    )


def by_engine(engine: TransformersEngine, requests: Sequence[Request]) -> int:
    """Tokens that our engine samples."""
    return sum(completion.completion_tokens for completion in engine.generate(requests))


def by_generate(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", requests: Sequence[Request], rows: int
) -> int:
    """Tokens that `model.generate` samples, `rows` sequences at a time."""
    requests = sorted(requests, key=lambda request: len(request.prompt.token_ids))
    n, sampling = len(requests[0].sample_indices), requests[0].sampling
    drawing: dict[str, object] = {"num_beams": 1, "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        drawing |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    prompts_together = max(rows // n, 1)
    ends = torch.tensor(model.generation_config.eos_token_id)
    tokens = 0
    for first in range(0, len(requests), prompts_together):
        prompts = [list(request.prompt.token_ids) for request in requests[first : first + prompts_together]]
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model.generate(**batch, **drawing, num_return_sequences=n, max_new_tokens=sampling.max_tokens)
        sampled = output[:, batch["input_ids"].shape[1] :].cpu()
        ended = torch.isin(sampled, ends)
        tokens += int((ended.cumsum(-1) - ended.long() == 0).sum())
    return tokens


def _as_requests(prompts: Sequence[Prompt], recipe: Recipe, n: int) -> list[Request]:
    sampling = recipe.judgments.sampling
    return [Request(str(i), prompt, sampling, i, tuple(range(n))) for i, prompt in enumerate(prompts)]


def rate(sample: Callable[[], int]) -> float:
    """Tokens per second of something that says how many tokens it sampled."""
    started = time.perf_counter()
    tokens = sample()
    return tokens / (time.perf_counter() - started)
