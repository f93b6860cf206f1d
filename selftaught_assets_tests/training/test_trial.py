"""A model that cannot be trained is found out before anything is sampled."""

import json
import logging
from datetime import date as Date
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.training.launch import require_trainable
from selftaught_assets_tests.training import tiny

pytestmark = pytest.mark.slow


def try_it(model: ModelReference, passed: Path) -> None:
    require_trainable(
        model, tiny.SETTINGS, seed=3, date=Date(2024, 7, 26), passed=passed, log=logging.getLogger(__name__)
    )


def test_a_model_that_was_trained_on_two_examples_is_not_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = reference_model(tiny.write_tiny_model(tmp_path / "model"))
    caplog.set_level(logging.INFO)
    try_it(model, tmp_path / "passed")
    assert "is trained on two examples" in caplog.text
    (model.base / "model.safetensors").unlink()
    caplog.clear()
    try_it(model, tmp_path / "passed")
    assert caplog.text == ""


def test_a_model_that_cannot_be_trained_is_refused_with_the_sentence_of_the_training(tmp_path: Path) -> None:
    folder = tiny.write_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": None}))
    with pytest.raises(UserError, match=r"cannot be trained, so nothing is sampled: .* has no token that ends a turn"):
        try_it(reference_model(folder), tmp_path / "passed")
    assert not (tmp_path / "passed").exists()
