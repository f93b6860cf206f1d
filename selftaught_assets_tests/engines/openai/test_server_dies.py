"""The loop on a real vLLM server that dies underneath it, and its tables. The tests build on each other."""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.engines import journalled
from selftaught_assets.recipe import load_recipe
from selftaught_assets.storage.journal import Journal
from selftaught_assets_tests.assets.loop import Loop, open_loop, sentences
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.vllm_server import VllmServer

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")

FIRST = "iteration_01"
SECTIONS = {
    "instructions": {"count": 32},
    "judgments": {"n": 8, "stop": "never", "sampling": {"max_tokens": 96}},
}
STANDARD_ERRORS = 3.3
"""One difference in a thousand is larger by chance, if judgments were independent."""


@pytest.fixture(scope="module")
def served(vllm_server: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop up to its pairs, which the server wrote."""
    folder = tmp_path_factory.mktemp("served")
    engine = vllm_server.settings(attempts=3, max_rows=8).model_dump(mode="json", exclude_unset=True)
    with open_loop(load_recipe(str(write_small_recipe(folder, engine=engine, **SECTIONS))), folder) as loop:
        loop.run("prepare", assets=["instruction_pool", "seed_model"])
        loop.run("iteration", FIRST, ["instructions", "pairs", "judge"])
        yield loop


def test_the_death_of_a_server_is_one_sentence_and_what_it_sampled_is_kept(
    vllm_server: VllmServer, served: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journalled, "FLUSH_SECONDS", 0.0)
    append, written = Journal.append, 0

    def append_and_kill(journal: Journal, rows: pl.DataFrame) -> None:
        nonlocal written
        append(journal, rows)
        if written < 50 <= written + rows.height:
            vllm_server.kill()
        written += rows.height

    monkeypatch.setattr(Journal, "append", append_and_kill)
    failed = served.run("iteration", FIRST, ["judgments"], fails=True)
    (sentence,) = sentences(failed)
    assert "answers no request, not even a short one" in sentence
    assert not served.layout.table("judgments", FIRST).exists()
    remembered = _remembered(served.layout.journal("judgments"))
    assert 50 <= remembered.height < 8 * 32
    assert remembered["finish_reason"].is_in(["stop", "length"]).all()


def test_when_it_is_back_only_the_rest_is_asked_for(vllm_server: VllmServer, served: Loop) -> None:
    remembered = _remembered(served.layout.journal("judgments")).height
    vllm_server.start()
    served.run("iteration", FIRST, ["judgments"])
    judgments, everything = served.table("judgments", FIRST), _remembered(served.layout.journal("judgments"))
    assert everything.height == everything.select("key", "sample_index").n_unique() == judgments.height
    assert served.metadata("judgments", FIRST)["completions_sampled"] == judgments.height - remembered
    assert judgments["finish_reason"].is_in(["stop", "length"]).all()


def test_the_tables_are_as_plausible_as_those_of_the_embedded_engine(served: Loop, tmp_path: Path) -> None:
    with open_loop(
        load_recipe(str(write_small_recipe(tmp_path, engine={"device": "cpu"}, **SECTIONS))), tmp_path
    ) as loop:
        loop.run("prepare", assets=["instruction_pool", "seed_model"])
        loop.run("iteration", FIRST, ["instructions", "pairs", "judge", "judgments"])
        pairs, judgments = loop.table("pairs", FIRST), loop.table("judgments", FIRST)
    served_pairs = served.table("pairs", FIRST)
    assert served_pairs["instruction_id"].to_list() == pairs["instruction_id"].to_list()
    assert served_pairs["generator"].unique().to_list() == pairs["generator"].unique().to_list()
    _assert_alike(served_pairs["drop_reason"].is_null(), pairs["drop_reason"].is_null())
    _assert_alike(served.table("judgments", FIRST)["is_correct"], judgments["is_correct"])


def _remembered(journal: Path) -> pl.DataFrame:
    shards = [pl.read_parquet(shard) for shard in journal.glob("*.parquet") if not shard.name.startswith(".")]
    return pl.concat(shards) if shards else pl.DataFrame()


def _assert_alike(one: pl.Series, other: pl.Series) -> None:
    """Shares that differ by no more than chance explains."""
    share = (one.sum() + other.sum()) / (len(one) + len(other))
    error = math.sqrt(share * (1 - share) * (1 / len(one) + 1 / len(other)))
    assert abs(one.sum() / len(one) - other.sum() / len(other)) <= STANDARD_ERRORS * error
