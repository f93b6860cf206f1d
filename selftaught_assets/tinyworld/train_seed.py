"""Trains the seed model from scratch: `python -m selftaught_assets.tinyworld.train_seed --out FOLDER`.

Two phases. *Abilities*: answer, modify, judge carefully; nearly all of the time. *Calibration*: a short rest of the
training in which the share of careful judgments is set for each operation (CAREFUL_SHARE). It is what makes the judge weak at
the start: for most operations it prefers a shallow judgment, though it could write a careful one.

Belongs here: the schedule. Not here: what the examples are (examples.py).
"""

import argparse
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.tinyworld.examples import ALWAYS_CAREFUL, Example, Mixture, draw_example
from selftaught_assets.tinyworld.operations import OPERATIONS

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 1
STEPS = 1_200
CALIBRATION_STEPS = 120
TOKENS_PER_STEP = 4_096
LEARNING_RATE = 4e-3
WARMUP_STEPS = 40
EXAMPLES_SORTED_TOGETHER = 2_048
TOKENIZER_EXAMPLES = 3_000

SHALLOW_START, SHALLOW_END = -1.9, 1.1
CAREFUL_SHARE = {
    operation.name: 1 / (1 + 2.718281828 ** -(SHALLOW_START + (SHALLOW_END - SHALLOW_START) * ((place * 7) % 26) / 25))
    for place, operation in enumerate(OPERATIONS)
}
"""Share of careful judgments by operation after calibration; the log-odds are spread evenly."""

ANSWERING = Mixture(0.65, 0.15, 0.1, 0.1, ALWAYS_CAREFUL)
JUDGING = Mixture(0.15, 0.1, 0.08, 0.67, ALWAYS_CAREFUL)
CALIBRATION = Mixture(0.15, 0.1, 0.08, 0.67, CAREFUL_SHARE)


class Batch(NamedTuple):
    """Token ids, right-padded, shape (rows, length), and which of them bear loss (the completions')."""

    input_ids: "torch.Tensor"
    is_target: "torch.Tensor"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the abilities phase")
    parser.add_argument("--calibration-steps", type=int, default=CALIBRATION_STEPS)
    options = parser.parse_args(arguments)
    train_seed(options.out, steps=options.steps, calibration_steps=options.calibration_steps)


def train_seed(out: Path, *, steps: int = STEPS, calibration_steps: int = CALIBRATION_STEPS) -> None:
    """Trains a seed model and puts it at `out`, whole or not at all; about four tokens per thousandth of a second and core."""
    import torch

    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = make_tokenizer()
    model = new_model(tokenizer)
    train_abilities(model, tokenizer, rng, steps)
    calibrate(model, tokenizer, rng, calibration_steps)
    save(model, tokenizer, out)


def make_tokenizer() -> "PreTrainedTokenizerFast":
    from selftaught_assets.tinyworld.tokenizer import train_tokenizer

    rng = random.Random(SEED)
    examples = (draw_example(rng, CALIBRATION) for _ in range(TOKENIZER_EXAMPLES))
    return train_tokenizer(text for example in examples for text in (example.messages[0]["content"], example.completion))


def new_model(tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """A Llama of about two million parameters with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from selftaught_assets.tinyworld.tokenizer import CONTEXT_LENGTH

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def train_abilities(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", rng: random.Random, steps: int) -> None:
    """Answering first, then mostly judging; the rate falls to a tenth over the second half."""

    def mixture(step: int) -> Mixture:
        return ANSWERING if step < steps // 4 else JUDGING

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP_STEPS, 0.1 + 1.8 * (1 - step / steps))

    _train(model, tokenizer, rng, "abilities", steps, mixture, rate)


def calibrate(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", rng: random.Random, steps: int) -> None:
    """Sets how often judgments are careful, operation by operation; the rate falls to zero."""
    _train(model, tokenizer, rng, "calibration", steps, lambda _step: CALIBRATION, lambda step: 0.2 * (1 - step / steps))


def save(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", out: Path) -> None:
    """Writes the model folder in bfloat16, aside first."""
    import torch
    from transformers import GenerationConfig

    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True, temperature=1.0, max_new_tokens=64
    )
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    readme = out / "README.md"
    if readme.exists():
        shutil.copy(readme, aside)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def _train(
    model: "LlamaForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    rng: random.Random,
    phase: str,
    steps: int,
    mixture: Callable[[int], Mixture],
    rate: Callable[[int], float],
) -> None:
    import torch

    from selftaught_assets.tinyworld.muon import Muon

    embeddings = model.model.embed_tokens.weight
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [embeddings, *(p for p in model.model.parameters() if p.ndim == 1)]
    muon = Muon(matrices)
    adamw = torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    started, tokens, running = time.monotonic(), 0, None
    batches = _batches(tokenizer, rng, mixture)
    next(batches)
    for step in range(steps):
        batch = batches.send(step)
        hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state[:, :-1]
        predicted = hidden[batch.is_target[:, 1:]] @ embeddings.T
        loss = torch.nn.functional.cross_entropy(predicted, batch.input_ids[:, 1:][batch.is_target[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for group in adamw.param_groups:
            group["lr"] = LEARNING_RATE * rate(step)
        adamw.step()
        adamw.zero_grad()
        muon.step(LEARNING_RATE * rate(step))
        tokens += batch.input_ids.numel()
        running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0 or step + 1 == steps:
            seconds = time.monotonic() - started
            print(
                f"{phase}: step {step + 1}/{steps}, loss {running:.4f}, {tokens / seconds:,.0f} tokens/s, "
                f"{seconds / (step + 1) * (steps - step - 1):,.0f} s left",
                flush=True,
            )


def _batches(tokenizer: "PreTrainedTokenizerFast", rng: random.Random, mixture: Callable[[int], Mixture]) -> Iterator[Batch]:
    """Batches of about TOKENS_PER_STEP tokens and rows of similar length; told the step, it gives the step's batch."""
    step = yield
    while True:
        examples = [draw_example(rng, mixture(step)) for _ in range(EXAMPLES_SORTED_TOGETHER)]
        rows = sorted(_encode(tokenizer, examples), key=lambda row: len(row[0]))
        cuts, start = [], 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or len(rows[end][0]) * (end + 1 - start) > TOKENS_PER_STEP:
                cuts.append(rows[start:end])
                start = end
        rng.shuffle(cuts)
        for cut in cuts:
            step = yield _padded(cut, tokenizer.pad_token_id)


def _encode(tokenizer: "PreTrainedTokenizerFast", examples: list[Example]) -> list[tuple[list[int], int]]:
    """For each example its token ids and how many of them are the prompt's."""
    conversations = [example.messages for example in examples]
    prompts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
    texts = [f"{prompt}{e.completion}{tokenizer.eos_token}" for prompt, e in zip(prompts, examples, strict=True)]
    prompt_ids, text_ids = (tokenizer(batch)["input_ids"] for batch in (prompts, texts))
    return [(ids, len(prompt)) for ids, prompt in zip(text_ids, prompt_ids, strict=True)]


def _padded(rows: list[tuple[list[int], int]], padding: int) -> Batch:
    import torch

    length = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), length), padding)
    is_target = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (ids, prompt_length) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        is_target[row, prompt_length : len(ids)] = True
    return Batch(input_ids, is_target)


if __name__ == "__main__":
    main()
