from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from trl import SFTTrainer

from selftaught_assets.staleness import TRAINING_CODE
from selftaught_assets.storage.models import ModelReference
from selftaught_assets.training import trainer as trainer_module
from selftaught_assets.training.trainer import (
    MICRO_BATCH_TOKENS,
    NO_LOSS,
    TokenisedSet,
    build_trainer,
    micro_batch_size,
    tokenised_set,
    with_adapter,
)
from selftaught_assets_tests.test_code_versions import assert_as_written
from selftaught_assets_tests.training.tiny import SETTINGS

DETERMINES = (
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "gradient_accumulation_steps",
    "label_smoothing_factor",
    "learning_rate",
    "lr_scheduler_kwargs",
    "lr_scheduler_type",
    "max_grad_norm",
    "num_train_epochs",
    "optim",
    "per_device_train_batch_size",
    "seed",
    "train_sampling_strategy",
    "warmup_steps",
    "weight_decay",
)
"""Arguments of the trainer that the weights depend on."""

GOLDEN = (1, "2f8292a098387a50")
"""See test_code_versions.py."""


@pytest.fixture
def tokenised(tokenizer: PreTrainedTokenizerBase, examples: Path) -> TokenisedSet:
    return tokenised_set(tokenizer, examples, 64)


@pytest.fixture
def trainer(
    tmp_path: Path, base: ModelReference, tokenizer: PreTrainedTokenizerBase, tokenised: TokenisedSet
) -> SFTTrainer:
    return _trainer(tmp_path, base, tokenizer, tokenised)


def _trainer(
    scratch: Path, base: ModelReference, tokenizer: PreTrainedTokenizerBase, tokenised: TokenisedSet
) -> SFTTrainer:
    loaded = AutoModelForCausalLM.from_pretrained(base.base, attn_implementation="eager")
    model = with_adapter(loaded, None, SETTINGS, seed=3)
    with torch.no_grad():  # A fresh adapter is the identity; a random one has gradients everywhere.
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    return build_trainer(model, tokenizer, tokenised, SETTINGS, 3, scratch)


def _batch(trainer: SFTTrainer) -> dict[str, torch.Tensor]:
    return next(iter(trainer.get_train_dataloader()))


def _gradients(trainer: SFTTrainer, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    return [weight.grad.clone() for weight in trainer.model.parameters() if weight.requires_grad]


def test_in_a_real_batch_prompt_and_padding_carry_no_label(
    trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase
) -> None:
    batch = _batch(trainer)
    assert batch["input_ids"].shape[0] == SETTINGS.batch_size
    assert (batch["attention_mask"] == 0).any(), "no padding, so this test would prove nothing"
    end_of_prompt = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        first, length = int((ids == end_of_prompt).nonzero()[0]) + 1, int(mask.sum())
        assert (labels[:first] == NO_LOSS).all()
        assert (labels[first:length] == ids[first:length]).all()
        assert (labels[length:] == NO_LOSS).all()


def test_the_loss_is_the_mean_over_the_judgments_tokens(trainer: SFTTrainer) -> None:
    batch = _batch(trainer)
    losses = []
    with torch.no_grad():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            length = int(mask.sum())
            logs = trainer.model(input_ids=ids[None, :length]).logits[0].log_softmax(-1)
            losses += [-logs[i - 1, ids[i]].item() for i in range(1, length) if labels[i] != NO_LOSS]
        loss = trainer.compute_loss(trainer.model, dict(batch))
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_loss_and_gradients_are_those_of_trls_own_loss(trainer: SFTTrainer) -> None:
    batch = _batch(trainer)
    ours = _gradients(trainer, batch)
    trainer.model.zero_grad()
    SFTTrainer.compute_loss(trainer, trainer.model, dict(batch)).backward()
    theirs = [weight.grad for weight in trainer.model.parameters() if weight.requires_grad]
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-6)


def test_every_linear_layer_but_the_head_has_an_adapter(trainer: SFTTrainer) -> None:
    adapted = {
        name.split(".lora_A")[0].rsplit(".", 1)[-1] for name, _ in trainer.model.named_parameters() if "lora_A" in name
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all("lora_" in name for name, weight in trainer.model.named_parameters() if weight.requires_grad)


def test_a_batch_in_parts_trains_as_the_whole(
    tmp_path: Path,
    base: ModelReference,
    tokenizer: PreTrainedTokenizerBase,
    tokenised: TokenisedSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trained() -> tuple[SFTTrainer, list[torch.Tensor]]:
        trainer = _trainer(tmp_path, base, tokenizer, tokenised)
        trainer.train()
        return trainer, [weight.detach() for weight in trainer.model.parameters() if weight.requires_grad]

    _, whole = trained()
    monkeypatch.setattr(trainer_module, "MICRO_BATCH_TOKENS", 64 * 2)
    in_parts, parts = trained()
    assert in_parts.args.gradient_accumulation_steps > 1
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_the_learning_rate_rises_then_falls_to_its_share(trainer: SFTTrainer) -> None:
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    rates = []
    for _ in range(10):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        rates.append(trainer.lr_scheduler.get_last_lr()[0])
    assert rates[0] < rates[1] == pytest.approx(SETTINGS.learning_rate)
    assert rates[-1] == pytest.approx(SETTINGS.learning_rate * SETTINGS.min_learning_rate_share)


@given(batch_size=st.integers(1, 512), longest=st.integers(1, 100_000))
def test_a_micro_batch_divides_the_batch_and_fits_the_budget(batch_size: int, longest: int) -> None:
    size = micro_batch_size(batch_size, longest)
    assert batch_size % size == 0
    assert size == 1 or size * longest <= MICRO_BATCH_TOKENS


def test_training_changes_with_the_version_of_its_code_only(trainer: SFTTrainer, tokenised: TokenisedSet) -> None:
    arguments, adapter = trainer.args.to_dict(), trainer.model.peft_config["default"]
    batch = _batch(trainer)
    loss = float(trainer.compute_loss(trainer.model, dict(batch)))
    result = (
        {name: arguments[name] for name in DETERMINES},
        (adapter.r, adapter.lora_alpha, adapter.lora_dropout, sorted(adapter.target_modules)),
        (tokenised.train, tokenised.validation, batch["input_ids"].tolist()),
        round(loss, 2),
    )
    assert_as_written("checkpoint", GOLDEN, TRAINING_CODE, result)
