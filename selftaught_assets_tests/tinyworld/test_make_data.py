import json
from collections import Counter
from pathlib import Path

import pytest

from selftaught_assets.tinyworld.data import RECIPE_DATA, main
from selftaught_assets.tinyworld.world import read_instruction, split_of


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (RECIPE_DATA / name).read_text(encoding="utf-8").splitlines()]


BENCHMARK = _rows("benchmark.jsonl")
POOL = _rows("pool.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    main(["--out", str(folder)])
    return folder


@pytest.mark.parametrize("name", ["pool.jsonl", "benchmark.jsonl"])
def test_shipped_file_is_what_the_code_makes(made: Path, name: str) -> None:
    assert (made / name).read_bytes() == (RECIPE_DATA / name).read_bytes()


def test_benchmark_has_at_least_500_pairs_in_two_subsets_of_equal_size() -> None:
    sizes = Counter(row["subset"] for row in BENCHMARK)
    assert sizes["easy"] == sizes["hard"] >= 250


def test_labelled_response_is_right_and_the_other_is_wrong() -> None:
    for row in BENCHMARK:
        answer = " ".join(read_instruction(row["instruction"]).answer)
        right, wrong = row["response_a"], row["response_b"]
        if row["label"] == "B":
            right, wrong = wrong, right
        assert (right, wrong != answer) == (answer, True), row["id"]


def test_position_and_length_say_nothing_about_the_winner() -> None:
    counts = Counter()
    for row in BENCHMARK:
        lengths = {label: len(row[f"response_{label.lower()}"].split()) for label in "AB"}
        winner, loser = row["label"], "AB".replace(row["label"], "")
        counts[row["subset"], winner, (lengths[winner] > lengths[loser]) - (lengths[winner] < lengths[loser])] += 1
    for subset in ("easy", "hard"):
        assert counts[subset, "A", 1] == counts[subset, "B", 1] == counts[subset, "A", -1] == counts[subset, "B", -1]
        assert counts[subset, "A", 0] == counts[subset, "B", 0]


def test_no_list_of_the_benchmark_occurs_in_the_pool() -> None:
    lists = {tuple(read_instruction(row["instruction"]).items) for row in BENCHMARK}
    assert not lists & {tuple(read_instruction(row["instruction"]).items) for row in POOL}


def test_lists_come_from_their_splits() -> None:
    assert {split_of(read_instruction(row["instruction"]).items) for row in BENCHMARK} == {"benchmark"}
    assert {split_of(read_instruction(row["instruction"]).items) for row in POOL} == {"pool"}


def test_every_operation_occurs_in_both_files() -> None:
    assert len({row["category"] for row in POOL}) == 26
    assert len({read_instruction(row["instruction"]).operation.name for row in BENCHMARK}) == 26


@pytest.mark.parametrize("rows", [POOL, BENCHMARK], ids=["pool", "benchmark"])
def test_ids_and_instructions_are_unique(rows: list[dict[str, str]]) -> None:
    assert len({row["id"] for row in rows}) == len({row["instruction"] for row in rows}) == len(rows)
