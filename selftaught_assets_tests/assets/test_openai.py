"""The loop on a real vLLM server: the tables that the openai engine gives, and a server that dies underneath it."""

import math
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.engines.openai import client as openai_client
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, sentences
from selftaught_assets_tests.conftest import ROOT, write_small_recipe
from selftaught_assets_tests.vllm_server import VllmServer, vllm_serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]

FIRST = "iteration_01"
JUDGMENTS = {"n": 16, "stop": "never", "sampling": {"max_tokens": 96}}
STANDARD_ERRORS = 3.3
"""One difference in a thousand is larger by chance, if judgments were independent."""


def loop(folder: Path, data: str, engine: dict[str, object]) -> Loop:
    recipe = load_recipe(str(write_small_recipe(folder, engine=engine, judgments=JUDGMENTS)))
    home = folder / f"{data}_home"
    home.mkdir()
    made = Loop(recipe, folder / data, dg.DagsterInstance.local_temp(str(home)))
    made.run("prepare", assets=["instruction_pool", "seed_model"])
    return made


def test_a_server_gives_plausible_tables_and_after_its_death_only_the_rest_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(journalled, "FLUSH_SECONDS", 0.0)
    embedded = loop(tmp_path, "embedded", {"device": "cpu"})
    embedded.run("iteration", FIRST, ["instructions", "pairs", "judge", "judgments"])

    with vllm_serving(ROOT / "models" / "seed", tmp_path / "log") as server:
        engine = {"name": "openai", "address": server.address, "model": "seed", "identity": "seed-1", "attempts": 3}
        served = loop(tmp_path, "served", engine | {"max_rows": 4})
        served.run("iteration", FIRST, ["instructions", "pairs", "judge"])
        journal = served.layout.journal("judgments")
        killer = threading.Thread(target=_kill_midway, args=(server, journal))
        killer.start()
        failed = served.run("iteration", FIRST, ["judgments"], fails=True)
        killer.join()
        (sentence,) = sentences(failed)
        assert "answers no request, not even a short one" in sentence
        remembered = _remembered(journal)
        assert not served.layout.table("judgments", FIRST).exists()

        server.start()
        served.run("iteration", FIRST, ["judgments"])

    judgments = served.table("judgments", FIRST)
    assert 100 <= remembered.height < judgments.height
    assert remembered["finish_reason"].is_in(["stop", "length"]).all()
    everything = _remembered(journal)
    assert everything.height == everything.select("key", "sample_index").n_unique() == judgments.height
    assert judgments["finish_reason"].is_in(["stop", "length"]).all()

    pairs, expected_pairs = served.table("pairs", FIRST), embedded.table("pairs", FIRST)
    assert pairs["instruction_id"].to_list() == expected_pairs["instruction_id"].to_list()
    assert pairs["generator"].unique().to_list() == expected_pairs["generator"].unique().to_list()
    _assert_alike(judgments["is_correct"], embedded.table("judgments", FIRST)["is_correct"])
    _assert_alike(pairs["drop_reason"].is_null(), expected_pairs["drop_reason"].is_null())


def _kill_midway(server: VllmServer, journal: Path) -> None:
    deadline = time.monotonic() + 600
    while _remembered(journal).height < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
    server.kill()


def _remembered(journal: Path) -> pl.DataFrame:
    shards = [pl.read_parquet(shard) for shard in journal.glob("*.parquet") if not shard.name.startswith(".")]
    return pl.concat(shards) if shards else pl.DataFrame()


def _assert_alike(one: pl.Series, other: pl.Series) -> None:
    """Shares that differ by no more than chance explains."""
    share = (one.sum() + other.sum()) / (len(one) + len(other))
    error = math.sqrt(share * (1 - share) * (1 / len(one) + 1 / len(other)))
    assert abs(one.sum() / len(one) - other.sum() / len(other)) <= STANDARD_ERRORS * error
