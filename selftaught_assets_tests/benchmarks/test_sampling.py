"""The sampling benchmark runs, counts tokens alike on both sides, and writes what it found. Not how fast."""

import json
from pathlib import Path

import pytest

from benchmarks import sampling
from benchmarks.measuring import write_results
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.engines.conftest import make_model, make_tokenizer, request


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_both_sides_are_measured_and_written(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.json"
    results.write_text('{"other": {"value": 1}}')
    monkeypatch.setattr(sampling, "LONG_TOKENS", 100)  # The context of the tiny model has 128.
    monkeypatch.setattr(sampling, "TRIED_ROWS", (32,))
    write_results(sampling.run(small=True, rounds=1, model=model_folder), results)
    written = json.loads(results.read_text())
    assert set(written) == {"other", "sampling_transformers", "sampling_transformers_long"}
    for name, n in (("sampling_transformers", 8 * 8), ("sampling_transformers_long", 2 * 15)):
        assert written[name]["n"] == n
        assert written[name]["ratio"] == pytest.approx(written[name]["value"] / written[name]["baseline"], abs=0.01)


def test_both_sides_count_the_same_tokens(model_folder: Path) -> None:
    engine, model, tokenizer = sampling.load_both(load_recipe("demo"), model_folder)
    requests = [request("abcdefg"[: i + 1], name=str(i), max_tokens=30, temperature=0) for i in range(7)]
    assert sampling.by_generate(model, tokenizer, requests, rows=4) == sampling.by_engine(engine, requests)
