"""`datasets` is the real one. Where it is asked for a data set by a name that is a folder here, it reads the folder."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.storage import inputs
from selftaught_assets.storage.inputs import read_hub

TURNS = [{"content": "x", "role": "user"}, {"content": "a", "role": "assistant"}]
SPLITS = {
    "train": [{"id": 1, "chosen": ["a", "b"], "conversation": TURNS}],
    "test": [{"id": 2, "chosen": ["c"], "conversation": TURNS[:1]}],
}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return datasets.config


@pytest.fixture
def folder(config: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The data set own/name, in the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "own" / "name"
    folder.mkdir(parents=True)
    for split, rows in SPLITS.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read(name: str, *required: str, **options: str) -> list[inputs.Record]:
    return list(read_hub(name, required, **({"config": None, "split": None, "data_dir": None} | options)))


def complaint(name: str, *required: str, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        read(name, *required, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("folder")
def test_one_split_is_read() -> None:
    assert [record.values for record in read("own/name", "id", split="test")] == SPLITS["test"]


@pytest.mark.usefixtures("folder")
def test_without_a_split_all_are_read_and_each_record_knows_its_own() -> None:
    records = read("own/name", "id")
    assert [(record.part, record.values) for record in records] == [
        ("train", SPLITS["train"][0]),
        ("test", SPLITS["test"][0]),
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"split": "nope"}, 'Unknown split "nope"'), ({"config": "nope"}, "nope"), ({"data_dir": "nope"}, "nope")],
)
def test_what_the_data_set_does_not_have_is_named(options: dict[str, str], sentence: str) -> None:
    said = complaint("own/name", **options)
    assert said.startswith("The data set own/name cannot be read from the hub (")
    assert sentence in said


@pytest.mark.usefixtures("folder")
def test_missing_column_is_named() -> None:
    assert complaint("own/name", "label", split="test") == (
        "The data set own/name: the column 'label' is missing; it has id, chosen, conversation."
    )


@pytest.mark.usefixtures("config")
def test_data_set_that_is_not_in_the_cache_is_one_sentence_when_offline() -> None:
    said = complaint("no/such")
    assert said.startswith("The data set no/such cannot be read from the hub (Couldn't reach 'no/such' on the Hub")
    assert said.endswith("download it on a machine with a network and give its file or folder as `path`, not `hub`.")


def test_hub_that_refuses_is_one_sentence_within_seconds(config: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_ENDPOINT", address)
    started = time.monotonic()
    said = complaint("allenai/reward-bench", split="filtered")
    assert time.monotonic() - started < 30
    assert said.startswith(f"The hub {address} cannot be reached for allenai/reward-bench (")
    assert "): download it on a machine with a network and give its file or folder as `path`, not `hub`" in said
    assert said.endswith(", or set HF_HUB_OFFLINE=1 if it has been read here before.")


def test_hub_that_is_silent_is_one_sentence_within_seconds(config: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(inputs, "PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(config, "HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert "(timed out)" in complaint("allenai/reward-bench", split="filtered")
    assert time.monotonic() - started < 30
