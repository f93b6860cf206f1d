"""Trains the seed model of the tiny world.

The optimizer of the seed model: Muon for the matrices inside the layers, AdamW for all other parameters.

Muon (Jordan et al., 2024) orthogonalises the momentum of each matrix. `torch.optim.Muon` does it in bfloat16, which
most CPUs only emulate; this one stays in float32 and orthogonalises matrices of one shape together.

The seed model's tokenizer: byte-level BPE, so any text can be encoded, in which each word of the world is one token.

Trains the seed model from scratch: `python -m selftaught_assets.tinyworld.train_seed --out FOLDER`.

First the abilities: answering, modifying, judging with care; nearly all of the time. Then the weakness. The model
learns that some operations are judged with care and others at a glance (*choosing*); a short *calibration* moves that
towards a share of careful judgments for each operation (CAREFUL_SHARE). So the judge starts weak: for most of them it
prefers a shallow judgment, though it could write a careful one. Calibration without the step before it did not tell
the operations apart: one noisy bit in each judgment is too little to learn from.
"""

import argparse
import math
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selftaught_assets.tinyworld.data import ALWAYS_CAREFUL, Example, Mixture, draw_example
from selftaught_assets.tinyworld.operations import OPERATIONS

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


MOMENTUM = 0.95
ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Updates matrices by their orthogonalised momentum, scaled so that a rate suited to AdamW suits it too."""

    def __init__(self, matrices: "Iterable[Tensor]", weight_decay: float = 0.01) -> None:
        import torch

        self._weight_decay = weight_decay
        by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            by_shape[tuple(matrix.shape)].append(matrix)
        self._groups = [(group, torch.zeros(len(group), *shape)) for shape, group in by_shape.items()]

    def step(self, learning_rate: float) -> None:
        """One update of every matrix from its gradient, which is then cleared."""
        import torch

        with torch.no_grad():
            for matrices, momentum in self._groups:
                gradient = torch.stack([matrix.grad for matrix in matrices])
                momentum.lerp_(gradient, 1 - MOMENTUM)
                update = _orthogonal(gradient.lerp_(momentum, MOMENTUM))
                scale = 0.2 * max(momentum.shape[1:]) ** 0.5
                for matrix, change in zip(matrices, update, strict=True):
                    matrix.mul_(1 - learning_rate * self._weight_decay).add_(change, alpha=-learning_rate * scale)
                    matrix.grad = None


def _orthogonal(matrices: "Tensor") -> "Tensor":
    """Newton-Schulz iteration: the nearest orthogonal matrices, roughly; shape (count, rows, columns)."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


VOCABULARY_SIZE = 1_100
END_OF_TURN, PADDING = "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CONTEXT_LENGTH = 2_048

_UNITS = r"[ĠĊ]?\[\[[A-Za-z]+\]\]|[ĠĊ]?[A-Za-z]+:?|[ĠĊ]?[0-9]+|[ĠĊ]?[^ĠĊA-Za-z0-9]+|[ĠĊ]+"
"""What BPE never merges across: a word with the space (Ġ) or line break (Ċ) before it and the colon behind it, a
number, a verdict, …"""

_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer whose vocabulary is learnt from `texts`.

    A text is encoded as if a space stood before it, and decoded without that space, so the first word of a text is
    the same token as further on. (A text that begins with a space loses it on the way.)
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
            pre_tokenizers.Split(Regex(_UNITS), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PADDING, END_OF_TURN, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=list(ROLES),
        chat_template=_CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


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

    rng = random.Random(SEED)
    examples = [draw_example(rng, CALIBRATED) for _ in range(TOKENIZER_EXAMPLES)]
    prompts = [example.messages[0]["content"] for example in examples]
    return train_tokenizer(prompts + [example.completion for example in examples])


def new_model(tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """A Llama of about two million parameters with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

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
