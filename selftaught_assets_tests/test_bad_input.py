"""What users bring that cannot be used ends its step with one sentence, and nothing half-written counts as whole."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from selftaught_assets.recipe import Recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import ROOT

PAIR = {"id": "1", "subset": "s", "instruction": "i", "response_a": "a", "response_b": "b", "label": "A"}

ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import dagster as dg
import selftaught_assets.definitions
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
recipe, data, job, partition, limit, *assets = sys.argv[1:]
with dg.DagsterInstance.ephemeral() as instance:
    loop = Loop(load_recipe(recipe), Path(data), instance)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    result = loop.run(job, partition or None, assets, fails=True)
    files = sorted(path.name for path in Path(data).rglob("*") if path.is_file())
    print(*sentences(result), *files, sep="\\n")
"""
"""A limit on the size of files stands for a full disk: the same kind of error, and no root is needed for it."""

WITH_A_FULL_FOLDER = 'mount -t tmpfs -o size=4k none "$1" && head -c 4096 /dev/zero > "$1/filler" && shift && exec "$@"'
CAN_MOUNT = shutil.which("unshare") and not subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode


@pytest.fixture
def refused(small_recipe: Callable[..., Recipe], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Materializes one asset of the small recipe, which must fail; gives the one sentence of the failed step."""
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(asset: str, **overrides: Any) -> str:
            loop = Loop(small_recipe(**overrides), tmp_path / "data", instance)
            (sentence,) = sentences(loop.run("prepare", assets=[asset], fails=True))
            assert sentence
            assert "\n" not in sentence
            assert "Traceback" not in sentence
            assert not loop.layout.table(asset).exists()
            return sentence

        yield materialize


def _lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("content", ["", "\n  \n"], ids=["nothing", "blank lines"])
def test_empty_pool(refused: Callable[..., str], tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    sentence = refused("instruction_pool", pool={"path": "mine.jsonl"})
    assert sentence == f"The pool {path} is empty: it needs at least one record with 'instruction'."


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"instruction": "cut', "not valid JSON (Unterminated string starting at, column 17)."),
        ('{"text": "another field"}', "the field 'instruction' is missing."),
        ('{"instruction": ["not", "text"]}', "'instruction' must be text, not ['not', 'text']."),
        ('{"instruction": null}', "'instruction' must be text, not None."),
    ],
    ids=["not JSON", "field missing", "list", "null"],
)
def test_bad_line_of_a_pool_is_named(refused: Callable[..., str], tmp_path: Path, line: str, complaint: str) -> None:
    path = _lines(tmp_path / "mine.jsonl", '{"instruction": "good"}', "", line)
    assert refused("instruction_pool", pool={"path": "mine.jsonl"}) == f"{path}, line 3: {complaint}"


def test_field_of_another_name_is_the_one_that_the_recipe_says(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _lines(tmp_path / "mine.jsonl", '{"prompt": "good"}', '{"instruction": "no"}')
    sentence = refused("instruction_pool", pool={"path": "mine.jsonl", "instruction_field": "prompt"})
    assert sentence == f"{path}, line 2: the field 'prompt' is missing."


def test_both_lines_of_a_repeated_id_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _lines(tmp_path / "mine.jsonl", *(json.dumps({"id": id, "instruction": f"{id}"}) for id in (7, 8, 7)))
    sentence = refused("instruction_pool", pool={"path": "mine.jsonl", "id_field": "id"})
    assert sentence == f"{path}, line 3: the id 7 is already in {path}, line 1; ids must differ."


@pytest.mark.parametrize("id", ["null", "NaN", '" "'])
def test_an_id_that_is_missing_is_named(refused: Callable[..., str], tmp_path: Path, id: str) -> None:
    path = _lines(tmp_path / "mine.jsonl", f'{{"id": {id}, "instruction": "x"}}')
    sentence = refused("instruction_pool", pool={"path": "mine.jsonl", "id_field": "id"})
    assert sentence == f"{path}, line 1: the id is missing; leave `id_field` out if there are no ids."


def test_empty_benchmark(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _lines(tmp_path / "mine.jsonl")
    sentence = refused("benchmarks", benchmarks=[{"name": "mine", "path": "mine.jsonl"}])
    assert sentence == f"The benchmark {path} is empty."


@pytest.mark.parametrize("field", ["id", "instruction", "response_a", "response_b", "label"])
def test_field_that_a_benchmark_lacks_is_named(refused: Callable[..., str], tmp_path: Path, field: str) -> None:
    lacking = {name: value for name, value in PAIR.items() if name != field}
    path = _lines(tmp_path / "mine.jsonl", json.dumps(PAIR), json.dumps(lacking | {"also": "this"}))
    sentence = refused("benchmarks", benchmarks=[{"name": "mine", "path": "mine.jsonl"}])
    assert sentence == f"{path}, line 2: the field {field!r} is missing."


def test_both_lines_of_a_repeated_benchmark_id_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _lines(tmp_path / "mine.jsonl", json.dumps(PAIR), json.dumps(PAIR | {"instruction": "other"}))
    sentence = refused("benchmarks", benchmarks=[{"name": "mine", "path": "mine.jsonl"}])
    assert sentence == f"{path}, line 2: the id '1' is already on line 1; ids must differ."


def test_benchmark_of_ties_only_cannot_be_scored(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    ties = [PAIR | {"id": id, "instruction": id, "label": "tie"} for id in "123"]
    path = _lines(tmp_path / "mine.jsonl", *map(json.dumps, ties))
    recipe = small_recipe(benchmarks=[{"name": "mine", "path": "mine.jsonl"}])
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(recipe, tmp_path / "data", instance)
        result = loop.run("prepare", assets=["benchmarks", "seed_model", "seed_evaluation"], fails=True)
        assert sentences(result) == [f"No pair of {path} can be scored; see `drop_reason` in the table `benchmarks`."]
        assert loop.table("benchmarks")["drop_reason"].to_list() == ["tie"] * 3


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _with_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _without_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _with_half_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_without_weights, "has no weights"),
        (_with_pickled_weights, "has its weights only as pickle (pytorch_model.bin)"),
        (_without_chat_template, "has no chat template"),
        (_with_half_the_weights, "is not a complete safetensors file"),
        (_without_tokenizer, "has no tokenizer"),
    ],
)
def test_model_folder_that_cannot_be_used(
    refused: Callable[..., str], tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "seed", folder)
    damage(folder)
    sentence = refused("seed_model", seed_model="model")
    assert str(folder) in sentence
    assert complaint in sentence


def _on_a_full_disk(
    folder: Path, job: str, iteration: str, *assets: str, limit: int = -1, wrapper: Sequence[str] = ()
) -> list[str]:
    """Runs assets where files end at `limit` bytes; gives what the step says, then the names of all files but locks."""
    arguments = [str(folder / "small.yaml"), str(folder / "data"), job, iteration, str(limit), *assets]
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", ON_A_FULL_DISK, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.endswith(".lock")]


def test_table_on_a_full_disk(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    small_recipe()
    folder = tmp_path / "data" / "small"
    assert _on_a_full_disk(tmp_path, "prepare", "", "instruction_pool", limit=2_000) == [
        f"Could not write into {folder}: file too large; free some space and run it again."
    ]


def test_pointer_of_the_judge_on_a_full_disk(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    small_recipe()
    folder = tmp_path / "data" / "small" / "judge"
    assert _on_a_full_disk(tmp_path, "iteration", "iteration_01", "judge", limit=20) == [
        f"Could not write into {folder}: file too large; free some space and run it again."
    ]


@pytest.mark.slow
@pytest.mark.skipif(not CAN_MOUNT, reason="a folder that is really full needs a mount of its own (unshare -rm)")
def test_journal_on_a_full_disk(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(small_recipe(instructions={"count": 2}), tmp_path / "data", instance)
        loop.run("prepare", assets=["instruction_pool"])
        loop.run("iteration", "iteration_01", ["instructions"])
    folder = loop.layout.journal("pairs")
    folder.mkdir(parents=True)
    wrapper = ["unshare", "-rm", "sh", "-c", WITH_A_FULL_FOLDER, "sh", str(folder)]
    assert _on_a_full_disk(tmp_path, "iteration", "iteration_01", "pairs", wrapper=wrapper) == [
        f"Could not write into {folder}: no space left on device; free some space and run it again.",
        "asset.json",  # What the checks of both tables found.
        "filler",
        "instruction_pool.parquet",
        "iteration_01.json",
        "iteration_01.parquet",
        "stage.json",
    ]


def test_table_that_was_deleted_is_named(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        loop = Loop(small_recipe(), tmp_path / "data", instance)
        loop.run("prepare", assets=["instruction_pool"])
        pool = loop.layout.table("instruction_pool")
        pool.unlink()
        result = loop.run("iteration", "iteration_01", ["instructions"], fails=True)
    assert sentences(result) == [f"The table {pool} does not exist: materialize `small/instruction_pool` first."]
