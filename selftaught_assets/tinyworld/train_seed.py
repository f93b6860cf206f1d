"""Trains the seed model from scratch: `python -m selftaught_assets.tinyworld.train_seed --out FOLDER`.

First the abilities: answering, modifying, judging with care; nearly all of the time. Then the weakness. The model
learns that some operations are judged with care and others at a glance (*choosing*); a short *calibration* moves that
towards a share of careful judgments for each operation (CAREFUL_SHARE). So the judge starts weak: for most of them it
prefers a shallow judgment, though it could write a careful one. Calibration without the step before it did not tell the
operations apart: one noisy bit in each judgment is too little to learn from.

Belongs here: the schedule and the loop. Not here: what the examples are (examples.py) and the optimizer (muon.py).
"""

import argparse
import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.tinyworld.examples import ALWAYS_CAREFUL, Example, Mixture, draw_example
from selftaught_assets.tinyworld.operations import OPERATIONS

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 1
TOKENS_PER_STEP = 4_096
WARMUP_STEPS = 40
EXAMPLES_SORTED_TOGETHER = 2_048
TOKENIZER_EXAMPLES = 3_000

SHALLOWEST, MOST_CAREFUL = -2.0, 1.4
"""Log-odds of a careful judgment, of the operations where it is rarest and where it is most frequent."""
_EVENLY_SPREAD = [SHALLOWEST + (MOST_CAREFUL - SHALLOWEST) * place / 25 for place in range(26)]
CAREFUL_SHARE = {
    operation.name: 1 / (1 + math.exp(-_EVENLY_SPREAD[7 * place % 26])) for place, operation in enumerate(OPERATIONS)
}
"""Share of careful judgments by operation that calibration aims at, 12 to 80 %; it stops before it is there."""

_DECIDED = {name: 0.97 if share > 0.5 else 0.03 for name, share in CAREFUL_SHARE.items()}

ANSWERING = Mixture(0.65, 0.15, 0.1, 0.1, ALWAYS_CAREFUL)
JUDGING = Mixture(0.15, 0.1, 0.08, 0.67, ALWAYS_CAREFUL)
BOTH = Mixture(0.45, 0.08, 0.07, 0.40, ALWAYS_CAREFUL)
CHOOSING = Mixture(0.2, 0.04, 0.03, 0.73, _DECIDED)
CALIBRATED = Mixture(0.45, 0.08, 0.07, 0.40, CAREFUL_SHARE)


class Phase(NamedTuple):
    """Some steps with one mixture of examples; the learning rate runs linearly from the first to the last."""

    name: str
    steps: int
    mixture: Mixture
    first_rate: float
    last_rate: float
    first_token_weight: float = 1.0
    """Of the loss on the first token of a completion: the one that decides between a careful and a shallow judgment."""

    def rate(self, step: int) -> float:
        planned = self.first_rate + (self.last_rate - self.first_rate) * step / self.steps
        return planned * min(1.0, (step + 1) / WARMUP_STEPS)


PHASES = (
    Phase("answering", 225, ANSWERING, 4e-3, 4e-3),
    Phase("judging", 225, JUDGING, 4e-3, 4e-3),
    Phase("judging, slower", 450, JUDGING, 4e-3, 4e-4),
    Phase("both", 200, BOTH, 4e-3, 4e-3),
    Phase("both, slower", 1_756, BOTH, 2.5e-3, 5e-5),
    Phase("choosing", 130, CHOOSING, 2e-3, 2e-3, first_token_weight=5.0),
    Phase("calibration", 60, CALIBRATED, 1.2e-3, 0.0, first_token_weight=5.0),
)


class Batch(NamedTuple):
    """Token ids, right-padded, shape (rows, length), and which of them bear loss (the completions')."""

    input_ids: "torch.Tensor"
    is_target: "torch.Tensor"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--steps", type=int, help="fewer steps, divided among the phases in proportion, to try it out")
    options = parser.parse_args(arguments)
    train_seed(options.out, steps=options.steps)


def train_seed(out: Path, *, steps: int | None = None) -> None:
    """Trains a seed model, about an hour on one core, and puts it at `out`, whole or not at all.

    Args:
        out: model folder; of one that is there already only the card stays.
        steps: how many in all, divided among the phases in proportion; None: as many as the shipped model had.
    """
    import torch

    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = new_model(tokenizer)
    all_steps = sum(phase.steps for phase in PHASES)
    for phase in PHASES:
        shortened = phase.steps if steps is None else round(phase.steps / all_steps * steps)
        train_phase(model, tokenizer, phase._replace(steps=shortened))
    save(model, tokenizer, out)


def make_tokenizer() -> "PreTrainedTokenizerFast":
    from selftaught_assets.tinyworld.tokenizer import train_tokenizer

    rng = random.Random(SEED)
    examples = [draw_example(rng, CALIBRATED) for _ in range(TOKENIZER_EXAMPLES)]
    prompts = [example.messages[0]["content"] for example in examples]
    return train_tokenizer(prompts + [example.completion for example in examples])


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


def train_phase(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", phase: Phase) -> None:
    """Trains the model in place, with a fresh optimizer and examples that the phase's name and SEED determine."""
    import torch

    from selftaught_assets.tinyworld.muon import Muon

    embeddings = model.model.embed_tokens.weight
    muon = Muon(p for p in model.model.layers.parameters() if p.ndim == 2)
    others = [embeddings, *(p for p in model.model.parameters() if p.ndim == 1)]
    adamw = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
    batches = _batches(tokenizer, random.Random(f"{SEED} {phase.name}"), phase.mixture)
    started, tokens, running = time.monotonic(), 0, None
    model.train()
    for step, batch in zip(range(phase.steps), batches, strict=False):
        hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state[:, :-1]
        is_target, targets = batch.is_target[:, 1:], batch.input_ids[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            hidden[is_target] @ embeddings.T, targets[is_target], reduction="none"
        )
        is_first = (is_target & ~batch.is_target[:, :-1])[is_target]
        weights = torch.where(is_first, phase.first_token_weight, 1.0)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        adamw.param_groups[0]["lr"] = phase.rate(step)
        adamw.step()
        adamw.zero_grad()
        muon.step(phase.rate(step))
        tokens += batch.input_ids.numel()
        running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0 or step + 1 == phase.steps:
            seconds = time.monotonic() - started
            print(
                f"{phase.name}: step {step + 1}/{phase.steps}, loss {running:.4f}, {tokens / seconds:,.0f} tokens/s, "
                f"{seconds / (step + 1) * (phase.steps - step - 1):,.0f} s left in this phase",
                flush=True,
            )


def save(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", out: Path) -> None:
    """Writes the model folder in bfloat16, aside first."""
    import torch
    from transformers import GenerationConfig

    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True, max_new_tokens=64
    )
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    readme = out / "README.md"
    if readme.exists():
        shutil.copy(readme, aside)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def _batches(tokenizer: "PreTrainedTokenizerFast", rng: random.Random, mixture: Mixture) -> Iterator[Batch]:
    """Endless batches of about TOKENS_PER_STEP tokens, each of rows of similar length."""
    while True:
        examples = [draw_example(rng, mixture) for _ in range(EXAMPLES_SORTED_TOGETHER)]
        rows = sorted(_encode(tokenizer, examples), key=lambda row: len(row[0]))
        batches, start = [], 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or len(rows[end][0]) * (end + 1 - start) > TOKENS_PER_STEP:
                batches.append(rows[start:end])
                start = end
        rng.shuffle(batches)
        for batch in batches:
            yield _padded(batch, tokenizer.pad_token_id)


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
