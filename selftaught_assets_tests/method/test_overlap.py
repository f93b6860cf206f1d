"""Instructions that come from a benchmark are found, and others are not."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught_assets.method import instructions
from selftaught_assets.method.instructions import RUN, benchmark_overlap

LONG = " ".join(f"word{n}" for n in range(40))
ITEMS = pl.DataFrame({"item_id": ["long", "short"], "instruction": [LONG, "Count to ten"]})


def found(*texts: str | None, items: pl.DataFrame = ITEMS) -> list[tuple[str | None, str | None, float]]:
    return benchmark_overlap(pl.Series(texts, dtype=pl.String), items).rows()


def runs_of(text: str) -> set[tuple[str, ...]]:
    """The definition, word for word."""
    words = text.lower().split()
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


def test_an_equal_instruction_is_found_whatever_its_case_and_spacing():
    assert found("  count TO\nten ") == [("short", None, 0.0)]


def test_a_copy_is_found_whatever_its_punctuation():
    assert found(LONG.replace(" ", ", ").upper() + "!") == [(None, "long", 1.0)]


def test_the_share_is_that_of_the_items_runs():
    half = " ".join(LONG.split()[:26])
    assert found(f"Please: {half}. Thanks") == [(None, "long", 14 / 28)]


def test_one_word_less_than_a_run_is_nothing():
    assert found(" ".join(LONG.split()[: RUN - 1])) == [(None, None, 0.0)]
    assert found(" ".join(LONG.split()[:RUN])) == [(None, "long", 1 / 28)]


def test_a_run_over_the_border_of_two_texts_is_none():
    words = LONG.split()
    assert found(" ".join(words[:7]), " ".join(words[7:14])) == [(None, None, 0.0)] * 2


@pytest.mark.parametrize("texts", [(), ("",), (None, "")])
def test_texts_without_words_overlap_with_nothing(texts: tuple[str | None, ...]):
    assert found(*texts) == [(None, None, 0.0)] * len(texts)


def test_a_benchmark_of_short_items_has_no_runs():
    assert found(LONG, items=ITEMS.tail(1)) == [(None, None, 0.0)]


def test_portions_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    texts = [LONG, "Count to ten", "nothing", " ".join(LONG.split()[5:30])] * 3
    whole = found(*texts)
    monkeypatch.setattr(instructions, "OVERLAP_BATCH", 2)
    assert found(*texts) == whole


@settings(max_examples=30)  # Each one clears a filter of 16 MB.
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=30), max_size=6), st.integers(0, 99))
def test_hashed_runs_are_those_of_the_definition(texts: list[list[str]], seed: int):
    item = " ".join(random.Random(seed).choices("abc", k=20))
    items = pl.DataFrame({"item_id": ["item"], "instruction": [item]})
    shares = [share for _, _, share in found(*(" ".join(text) for text in texts), items=items)]
    wanted = runs_of(item)
    assert shares == [pytest.approx(len(wanted & runs_of(" ".join(text))) / len(wanted)) for text in texts]


def test_real_benchmark_that_was_made_of_a_pool_is_found_in_it(real_data: Path):
    """PandaLM's test set asks the instructions of self-instruct; LLMBar's does not."""
    pool = [json.loads(line) for line in (real_data / "pools" / "self_instruct.jsonl").open(encoding="utf-8")]
    leaks = {}
    for name in ("pandalm", "llmbar"):
        lines = (real_data / "benchmarks" / f"{name}.jsonl").open(encoding="utf-8")
        items = pl.DataFrame([json.loads(line) for line in lines], infer_schema_length=None)
        items = items.select(item_id="id", instruction="instruction")
        leaks[name] = benchmark_overlap(pl.Series([row["instruction"] for row in pool]), items)["equal_to"].count()
    assert leaks["pandalm"] > len(pool) / 3
    assert leaks["llmbar"] == 0
