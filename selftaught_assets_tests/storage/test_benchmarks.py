import csv
import json
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.recipe.benchmarks import Benchmark
from selftaught_assets.storage.inputs import read_benchmark
from selftaught_assets_tests.method.benchmarks.records import BEST_OF_4, MT_BENCH, RM_BENCH, TIES

OURS = {"id": "1", "instruction": "x", "response_a": "a", "response_b": "b", "label": "A"}
THEIRS = [
    {"nr": 7, "question": "x", "left": "a", "right": "b", "better": 2},
    {"nr": 8, "question": "y", "left": "a", "right": "b", "better": 0},
    {"nr": 9, "question": "z", "left": "a", "right": "b", "better": None},
]
MAPPING = {
    "fields": {"id": "nr", "instruction": "question", "response_a": "left", "response_b": "right", "label": "better"},
    "labels": {"A": 1, "B": 2, "TIE": 0},
}


def benchmark(path: Path, **choices: object) -> Benchmark:
    return Benchmark.model_validate({"name": "mine", "path": path} | choices)


def jsonl(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path: Path, *rows: dict[str, object]) -> Path:
    pl.DataFrame(rows).write_parquet(path)
    return path


def comma_separated(path: Path, *rows: dict[str, object]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def complaint(made: Benchmark) -> str:
    with pytest.raises(UserError) as caught:
        read_benchmark(made)
    return str(caught.value)


@pytest.mark.parametrize(
    ("write", "name"), [(jsonl, "mine.jsonl"), (parquet, "mine.parquet"), (comma_separated, "mine.csv")]
)
def test_own_columns_and_label_values_are_mapped_in_every_kind_of_file(tmp_path: Path, write, name: str) -> None:
    made = benchmark(write(tmp_path / name, *THEIRS), **MAPPING)
    table = benchmark_rows("mine", read_benchmark(made), made.format)
    assert table.select("item_id", "instruction", "label", "drop_reason").rows() == [
        ("7", "x", "B", None),
        ("8", "y", "TIE", "tie"),
        ("9", "z", None, "no_label"),
    ]


@pytest.mark.parametrize(
    ("labels", "values"),
    [({"A": 1, "B": 2}, ("1.0", "2.0", "")), ({"A": True, "B": False}, ("yes", "no", "maybe"))],
)
def test_labels_of_a_csv_are_read_as_they_are_spelled(tmp_path: Path, labels, values) -> None:
    rows = [OURS | {"id": value, "instruction": value or "x", "label": value} for value in values]
    made = benchmark(
        comma_separated(tmp_path / "mine.csv", *(row | {"id": f"n{row['id']}"} for row in rows)), labels=labels
    )
    table = benchmark_rows("mine", read_benchmark(made), made.format)
    assert table["label"].to_list() == ["A", "B", None]
    assert table["label_seen"].to_list() == [None, None, values[2]]


def test_two_labels_of_one_meaning_are_refused(tmp_path: Path) -> None:
    for labels in ({"A": True, "B": "yes"}, {"A": 1, "B": "1.0"}, {"A": "x", "B": "X"}):
        with pytest.raises(ValueError, match="two `labels` have the same value"):
            benchmark(tmp_path / "mine.csv", labels=labels)


@pytest.mark.parametrize("gap", [None, float("nan"), " "])
def test_a_record_without_its_id_is_named(tmp_path: Path, gap: object) -> None:
    path = jsonl(tmp_path / "mine.jsonl", OURS, OURS | {"id": gap})
    assert complaint(benchmark(path)) == (
        f"{path}, line 2: the id is missing; set `fields: {{id: null}}` of the benchmark if there are no ids."
    )


@pytest.mark.parametrize(
    ("form", "record"),
    [("rewardbench2", BEST_OF_4), ("rewardbench2", TIES), ("rm_bench", RM_BENCH), ("mt_bench", MT_BENCH)],
)
def test_lists_and_conversations_are_the_same_in_parquet(tmp_path: Path, form: str, record) -> None:
    tables = [
        benchmark_rows("published", read_benchmark(benchmark(path, format=form)), form)
        for path in (jsonl(tmp_path / "a.jsonl", record), parquet(tmp_path / "b.parquet", record))
    ]
    assert tables[0].equals(tables[1])
    assert tables[0]["drop_reason"].null_count() == tables[0].height


def test_records_without_ids_are_numbered(tmp_path: Path) -> None:
    lacking = {name: value for name, value in OURS.items() if name != "id"}
    made = benchmark(jsonl(tmp_path / "mine.jsonl", lacking, lacking), fields={"id": None})
    assert [record["id"] for record in read_benchmark(made)] == [1, 2]


def test_preferences_with_columns_of_their_own_are_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "mine.jsonl", {"id": 1, "q": "x", "good": "a", "bad": "b", "topic": "maths"})
    fields = {"instruction": "q", "chosen": "good", "rejected": "bad", "subset": "topic"}
    made = benchmark(path, format="chosen_rejected", fields=fields)
    row = benchmark_rows("mine", read_benchmark(made), made.format).row(0, named=True)
    assert (row["instruction"], row["subset"], row[f"response_{row['label'].lower()}"]) == ("x", "maths", "a")


def test_record_without_a_subset_gets_the_name_of_its_file(tmp_path: Path) -> None:
    jsonl(tmp_path / "easy.jsonl", OURS)
    jsonl(tmp_path / "hard.jsonl", OURS | {"id": "2"}, OURS | {"id": "3", "subset": "very hard"})
    assert [record["subset"] for record in read_benchmark(benchmark(tmp_path))] == ["easy", "hard", "very hard"]


def test_llmbar_is_read_as_its_repository_has_it(tmp_path: Path) -> None:
    record = {"input": "x", "output_1": "a", "output_2": "b", "label": 2}
    for folder in ("Natural", "Adversarial/Neighbor"):
        path = tmp_path / folder / "dataset.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([record | {"input": folder}]))
    (tmp_path / "Natural" / "evaluators").mkdir()
    (tmp_path / "Natural" / "evaluators" / "result.json").write_text("[]")
    made = benchmark(tmp_path, format="llmbar", files="**/dataset.json")
    table = benchmark_rows("llmbar", read_benchmark(made), made.format)
    assert table.select("item_id", "subset", "label").rows() == [
        ("Adversarial/Neighbor/0", "Adversarial/Neighbor", "B"),
        ("Natural/0", "Natural", "B"),
    ]


@pytest.mark.parametrize("column", ["nr", "question", "better"])
def test_column_that_the_recipe_names_and_the_file_lacks_is_named(tmp_path: Path, column: str) -> None:
    rows = [{name: value for name, value in row.items() if name != column} for row in THEIRS]
    path = parquet(tmp_path / "mine.parquet", *rows)
    assert complaint(benchmark(path, **MAPPING)).startswith(f"{path}: the column {column!r} is missing; it has ")


def test_repeated_id_in_another_file_is_named_with_its_file(tmp_path: Path) -> None:
    first, second = jsonl(tmp_path / "a.jsonl", OURS), jsonl(tmp_path / "b.jsonl", OURS)
    assert complaint(benchmark(tmp_path)) == (
        f"{second}, line 1: the id '1' is already on line 1 of {first}; ids must differ."
    )
