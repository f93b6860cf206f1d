"""TRL's SFTTrainer as we use it: LoRA on every linear layer, loss on the judgment's tokens."""

import functools
from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from selftaught_assets.engines import pretrained
from selftaught_assets.engines.chat import end_of_turn, training_example
from selftaught_assets.errors import UserError
from selftaught_assets.recipe.engines import TEMPLATE_DATE
from selftaught_assets.recipe.stages import Training

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer


NO_LOSS = -100
"""The label of a token that carries no loss."""

Row = dict[str, list[int]]
"""`input_ids` and `labels`, of equal length: the instruction's tokens, then the judgment's and the end of the turn."""


class TokenisedSet(NamedTuple):
    """The training and the validation split."""

    train: list[Row]
    validation: list[Row]
    too_long: int
    """Examples left out of both."""


def tokenised_set(
    tokenizer: "PreTrainedTokenizerBase", examples: Path, max_tokens: int, date: Date = TEMPLATE_DATE
) -> TokenisedSet:
    """Renders the kept rows of a filtered set as the judge is sampled; only the judgment's tokens have labels.

    Raises:
        UserError: no example is left to train on.
    """
    kept = pl.read_parquet(examples, glob=False).filter(pl.col("drop_reason").is_null())
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    too_long = 0
    for messages, completion, split in kept.select("messages", "completion", "split").iter_rows():
        prompt_ids, completion_ids = training_example(tokenizer, messages, completion, date)
        if len(prompt_ids) + len(completion_ids) > max_tokens:
            too_long += 1
        else:
            labels = [NO_LOSS] * len(prompt_ids) + completion_ids
            splits[split].append({"input_ids": prompt_ids + completion_ids, "labels": labels})
    if not splits["train"]:
        raise UserError(
            f"{examples} has nothing to train on: of {kept.height} examples {too_long} exceed {max_tokens} tokens and "
            f"{len(splits['validation'])} are held out; sample more judgments or raise training.max_tokens."
        )
    return TokenisedSet(splits["train"], splits["validation"], too_long)


ADAM_BETA1 = 0.9
MICRO_BATCH_TOKENS = 16_384
"""Tokens that go through the model together; larger batches are accumulated over several passes."""
RECOMPUTE_PARAMETERS = 1_000_000_000
"""From this size on activations are recomputed in the backward pass: memory is scarcer than time."""


def build_trainer(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: TokenisedSet,
    settings: Training,
    seed: int,
    scratch: Path,
) -> "SFTTrainer":
    """A trainer over tokenised examples; nothing is truncated, packed, uploaded or saved by itself.

    Args:
        model: base with a trainable adapter.
        tokenizer: batches are padded with its end of the turn, since not every model has a token for padding; labels
            and mask leave it out.
        examples: see `tokenised_set`.
        settings: the recipe's training section.
        seed: of the order of examples.
        scratch: a folder that TRL wants and leaves empty.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    longest = max(len(row["input_ids"]) for row in examples.train + examples.validation)
    micro_batch = micro_batch_size(settings.batch_size, longest)
    on_gpu = model.device.type == "cuda"
    arguments = SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.batch_size // micro_batch,
        per_device_eval_batch_size=micro_batch,
        train_sampling_strategy="random",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings.min_learning_rate_share},
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta1=ADAM_BETA1,
        adam_beta2=settings.adam_beta2,
        seed=seed % 2**32,
        bf16=False,
        gradient_checkpointing=model.num_parameters() >= RECOMPUTE_PARAMETERS,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        eval_strategy="epoch" if examples.validation else "no",
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,  # Or a loss that is no number is logged as 0.
        disable_tqdm=True,
        report_to="none",
    )
    trainer = _judgment_trainer()(
        model,
        arguments,
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(examples.validation) if examples.validation else None,
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(pad_token_id=end_of_turn(tokenizer)),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def with_adapter(base: "PreTrainedModel", adapter: Path | None, settings: Training, seed: int) -> "PeftModel":
    """The base with a trainable LoRA adapter on all linear layers: a new one, or the one of a judge.

    Raises:
        UserError: the judge's adapter does not fit the base, or has another rank than the recipe asks for.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    if adapter is None:
        set_seed(seed % 2**32)
        config = LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", r=settings.lora_rank, lora_alpha=settings.lora_alpha
        )
        return get_peft_model(base, config)
    model = pretrained.with_adapter(base, adapter, trainable=True)
    config = model.peft_config["default"]
    if (config.r, config.lora_alpha) != (settings.lora_rank, settings.lora_alpha):
        raise UserError(
            f"The adapter {adapter} has rank {config.r} and alpha {config.lora_alpha}, the recipe asks for "
            f"{settings.lora_rank} and {settings.lora_alpha}: keep them, or set training.start_from: seed."
        )
    return model


def micro_batch_size(batch_size: int, longest: int) -> int:
    """Examples that go through the model together: the largest divisor of the batch within the token budget."""
    fitting = max(1, MICRO_BATCH_TOKENS // longest)
    return max(size for size in range(1, batch_size + 1) if batch_size % size == 0 and size <= fitting)


@functools.cache
def _judgment_trainer() -> type["SFTTrainer"]:
    """SFTTrainer with a cheaper loss on CPUs, equal to its own.

    On a GPU TRL projects only labelled positions onto the vocabulary. On a CPU it projects all of them and adds
    entropy and accuracy, a third of a step of a small model.
    """
    import torch
    from trl import SFTTrainer

    class JudgmentTrainer(SFTTrainer):
        def compute_loss(
            self,
            model: "torch.nn.Module",
            inputs: "dict[str, torch.Tensor]",
            return_outputs: bool = False,
            num_items_in_batch: "torch.Tensor | None" = None,
        ) -> "torch.Tensor":
            labels = inputs["labels"]
            if labels.device.type != "cpu" or self.aux_loss_enabled:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            first = int((labels != NO_LOSS).int().argmax(dim=1).min())
            logits = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
                logits_to_keep=labels.shape[1] - first + 1,
            ).logits[:, :-1]
            targets = labels[:, first:]
            learned = targets != NO_LOSS
            total = torch.nn.functional.cross_entropy(logits[learned].float(), targets[learned], reduction="sum")
            return total / (learned.sum() if num_items_in_batch is None else num_items_in_batch)

    return JudgmentTrainer
