import json
import logging
import math
import os
import resource
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from selftaught_assets.errors import UserError
from selftaught_assets.model_files import TOKENIZER_FILES, files_of
from selftaught_assets.storage.checkpoints import find_checkpoint, read_manifest, reference_checkpoint
from selftaught_assets.storage.files import read_progress
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.training.fine_tune import fine_tune, loss_curve
from selftaught_assets.training.job import TrainingJob
from selftaught_assets_tests.training import tiny

LOG = logging.getLogger(__name__)
MakeJob = Callable[..., TrainingJob]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: ModelReference, examples: Path) -> TrainingJob:
    """A finished job, long enough to learn something."""
    folder = tmp_path_factory.mktemp("trained")
    job = TrainingJob(
        recipe="tiny",
        iteration="iteration_01",
        start=base,
        base_digest=base.digest,
        examples=examples,
        training_set_digest="0" * 64,
        settings=tiny.SETTINGS.model_copy(update={"epochs": 8.0}),
        seed=3,
        destination=folder / "one",
        progress=folder / "stage.json",
        failure=folder / "failure.txt",
        parent=os.getppid(),
    )
    fine_tune(job, LOG)
    return job


def _digest(job: TrainingJob) -> str:
    fine_tune(job, LOG)
    return read_manifest(job.destination).digest


def test_both_losses_fall(trained: TrainingJob) -> None:
    metrics = read_manifest(trained.destination).metrics
    assert metrics.train_loss < metrics.train_loss_curve[0][1] - 0.3
    assert metrics.validation_losses[-1] < metrics.validation_losses[0]
    assert metrics.validation_loss == metrics.validation_losses[-1]


def test_the_training_loss_is_the_mean_of_the_last_epoch(trained: TrainingJob) -> None:
    metrics = read_manifest(trained.destination).metrics
    losses = [loss for _, loss in metrics.train_loss_curve]
    assert len(losses) == metrics.steps == 40
    assert metrics.train_loss == pytest.approx(sum(losses[-5:]) / 5)  # 40 examples in batches of 8


@given(st.lists(st.floats(0, 9), min_size=1, max_size=400))
def test_a_loss_curve_has_at_most_fifty_points_that_stand_for_all_steps(losses: list[float]) -> None:
    curve = loss_curve(losses)
    steps = [0, *(step for step, _ in curve)]
    assert len(curve) <= 50 and steps[-1] == len(losses)
    for (first, last), (_, loss) in zip(pairwise(steps), curve, strict=True):
        assert loss == pytest.approx(sum(losses[first:last]) / (last - first))


def test_a_loss_that_is_no_number_is_told_as_such(make_job: MakeJob) -> None:
    job = make_job(settings=tiny.SETTINGS.model_copy(update={"learning_rate": 1e30}))
    fine_tune(job, LOG)
    assert math.isnan(read_manifest(job.destination).metrics.train_loss)


def test_a_model_without_tokens_for_padding_and_for_the_end_of_a_text_is_trained(
    make_job: MakeJob, tmp_path: Path
) -> None:
    folder = tiny.write_tiny_model(tmp_path / "bare")
    for name, fields in (("tokenizer_config.json", ("pad_token", "eos_token")), ("config.json", ("eos_token_id",))):
        kept = {field: value for field, value in json.loads((folder / name).read_text()).items() if field not in fields}
        (folder / name).write_text(json.dumps(kept))
    job = make_job(start=reference_model(folder))
    fine_tune(job, LOG)
    assert find_checkpoint(job.destination) is not None


def test_the_manifest_accounts_for_examples_steps_and_tokens(trained: TrainingJob) -> None:
    metrics = read_manifest(trained.destination).metrics
    assert (metrics.examples, metrics.validation_examples, metrics.too_long) == (40, 8, 0)
    assert (metrics.steps, len(metrics.validation_losses)) == (40, 8)
    assert metrics.tokens % 8 == 0 and metrics.tokens > 8 * 40


def test_the_adapter_loads_and_changes_what_the_base_says(trained: TrainingJob, base: ModelReference) -> None:
    model = AutoModelForCausalLM.from_pretrained(base.base)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before = model(ids).logits
        after = PeftModel.from_pretrained(model, str(trained.destination))(ids).logits
    assert (after - before).abs().max() > 1e-2


def test_the_checkpoint_is_the_judge_that_its_manifest_names(trained: TrainingJob, base: ModelReference) -> None:
    judge = reference_checkpoint(trained.destination, base)
    assert judge == ModelReference(base.base, trained.destination, read_manifest(trained.destination).digest)
    assert files_of(trained.destination, TOKENIZER_FILES).keys() == files_of(base.base, TOKENIZER_FILES).keys()


def test_no_file_of_the_checkpoint_but_pefts_own_names_a_path_of_this_machine(
    trained: TrainingJob, base: ModelReference
) -> None:
    naming = {p.name for p in trained.destination.iterdir() if str(base.base).encode() in p.read_bytes()}
    assert naming <= {"adapter_config.json"}


def test_progress_ends_at_the_last_step(trained: TrainingJob) -> None:
    progress = read_progress(trained.progress)
    assert (progress.stage, progress.iteration, progress.done, progress.total) == ("checkpoint", "iteration_01", 40, 40)


def test_the_same_job_gives_the_same_weights_and_another_seed_others(make_job: MakeJob, tmp_path: Path) -> None:
    first = _digest(make_job())
    assert _digest(make_job(destination=tmp_path / "elsewhere" / "two")) == first
    assert _digest(make_job(destination=tmp_path / "three", seed=4)) != first


def test_training_on_continues_the_judges_adapter(
    trained: TrainingJob, base: ModelReference, make_job: MakeJob
) -> None:
    judge = reference_checkpoint(trained.destination, base)
    job = make_job(start=judge, settings=tiny.SETTINGS.model_copy(update={"warmup_steps": 0, "learning_rate": 1e-4}))
    fine_tune(job, LOG)
    manifest = read_manifest(job.destination)
    assert (
        manifest.metrics.train_loss_curve[0][1]
        < read_manifest(trained.destination).metrics.train_loss_curve[0][1] - 0.3
    )
    assert (manifest.start_digest, manifest.base_digest) == (judge.digest, base.digest)
    assert manifest.digest != judge.digest


def test_training_on_with_another_rank_is_refused_in_a_sentence(
    trained: TrainingJob, base: ModelReference, make_job: MakeJob
) -> None:
    judge = reference_checkpoint(trained.destination, base)
    job = make_job(start=judge, settings=tiny.SETTINGS.model_copy(update={"lora_rank": 2}))
    with pytest.raises(UserError, match="has rank 4 and alpha 8, the recipe asks for 2 and 8"):
        fine_tune(job, LOG)


def test_training_on_refuses_an_adapter_of_half_of_the_layers(
    trained: TrainingJob, base: ModelReference, make_job: MakeJob, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(trained.destination, half)
    weights = load_file(half / "adapter_model.safetensors")
    save_file({name: weights[name] for name in weights if "layers.0" in name}, half / "adapter_model.safetensors")
    job = make_job(start=ModelReference(base.base, half, "0" * 64))
    with pytest.raises(UserError, match=r"does not fit the base model .*: it has no weights for model\.layers\.1"):
        fine_tune(job, LOG)


def test_training_refuses_a_model_whose_files_lack_weights(
    base: ModelReference, make_job: MakeJob, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(base.base, folder)
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[-1]
    save_file({n: weights[n] for n in weights if n != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"lack weights that its config.json requires: .*{name}"):
        fine_tune(make_job(start=ModelReference(folder, None, "0" * 64)), LOG)


def test_without_a_validation_split_there_is_no_validation_loss(make_job: MakeJob, tmp_path: Path) -> None:
    rows = [tiny.example("a", "b [[A]]"), tiny.example("c", "d [[B]]")]
    job = make_job(examples=tiny.write_examples(tmp_path / "set.parquet", rows))
    fine_tune(job, LOG)
    assert read_manifest(job.destination).metrics.validation_loss is None


def test_a_fraction_of_an_epoch_is_trained_and_validated(make_job: MakeJob) -> None:
    job = make_job(settings=tiny.SETTINGS.model_copy(update={"epochs": 0.4}))
    fine_tune(job, LOG)
    metrics = read_manifest(job.destination).metrics
    assert (metrics.steps, len(metrics.validation_losses)) == (2, 1)


def test_bfloat16_weights_train_too(make_job: MakeJob) -> None:
    job = make_job(settings=tiny.SETTINGS.model_copy(update={"dtype": "bfloat16"}))
    fine_tune(job, LOG)
    curve = read_manifest(job.destination).metrics.train_loss_curve
    assert curve[-1][1] < curve[0][1]


def test_training_ends_without_its_launcher_and_leaves_nothing(make_job: MakeJob) -> None:
    job = make_job(parent=0)
    with pytest.raises(SystemExit, match="gone"):
        fine_tune(job, LOG)
    assert list(job.destination.parent.iterdir()) == []


def test_a_damaged_checkpoint_in_the_way_is_replaced(make_job: MakeJob) -> None:
    job = make_job()
    digest = _digest(job)
    weights = job.destination / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"ABCD")
    assert find_checkpoint(job.destination) is None
    assert _digest(job) == digest
    assert find_checkpoint(job.destination) is not None


def test_a_full_disk_is_one_sentence_and_leaves_nothing(make_job: MakeJob) -> None:
    job = make_job()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))  # The adapter takes 20,000 bytes.
    try:
        with pytest.raises(UserError, match=r"Could not write into .*free some space and run it again\.$"):
            fine_tune(job, LOG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(job.destination.parent.iterdir()) == []
