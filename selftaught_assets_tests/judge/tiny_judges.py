"""A data folder with a trained judge, made by hand in a second: builders, no tests."""

from pathlib import Path

from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.checkpoints import Manifest, TrainingMetrics, checkpoint_writer
from selftaught_assets.storage.models import adapter_digest, reference_model

METRICS = TrainingMetrics(
    train_loss=0.25,
    train_loss_curve=((1, 0.5), (2, 0.25)),
    validation_loss=0.375,
    validation_losses=(0.375,),
    steps=2,
    examples=1368,
    validation_examples=150,
    too_long=0,
    tokens=9000,
    seconds=0.5,
)


def write_adapter(folder: Path, base: Path, seed: int = 0) -> None:
    """A LoRA adapter on a model, with random weights that change some of its verdicts."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.mul_(0.3)
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink()


def write_checkpoint(destination: Path, recipe: Recipe, seed: int = 0) -> Path:
    """A finished checkpoint on the recipe's seed model."""
    base = reference_model(recipe.seed_model)
    with checkpoint_writer(destination) as (folder, finish):
        write_adapter(folder, recipe.seed_model, seed)
        finish(
            Manifest(
                recipe=recipe.name,
                training_key="k" * 64,
                base_digest=base.digest,
                start_digest=base.digest,
                training_set_digest="t" * 64,
                digest=adapter_digest(folder, base.digest),
                training={"learning_rate": 0.001},
                seed=seed,
                metrics=METRICS,
                versions={},
            )
        )
    return destination
