import csv
import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.errors import UserError
from selftaught_assets.storage.inputs import read_records

ROWS = [{"id": "1", "text": 'a\u2028b, "c"\nd'}, {"id": "2", "text": ""}]

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    match path.suffix:
        case ".jsonl":
            path.write_text(lines, encoding="utf-8")
        case ".gz":
            path.write_bytes(gzip.compress(lines.encode("utf-8")))
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".parquet":
            pl.DataFrame(rows).write_parquet(path)
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return path


def complaint(path: Path, *required: str, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        list(read_records(path, required, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz", "mine.json", "mine.parquet", "mine.csv"])
def test_every_kind_of_file_holds_the_same_records(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    assert [record.values for record in read_records(path, ("id", "text"))] == ROWS


@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells}), min_size=1, max_size=5))
def test_what_is_written_as_csv_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    path = write(tmp_path_factory.mktemp("csv") / "mine.csv", rows)
    assert [record.values for record in read_records(path, ("a", "b"))] == rows


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [{"text": "long " * 100_000}])
    assert len(next(read_records(path, ("text",))).values["text"]) == 500_000


def test_records_say_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", ROWS)
    assert [(record.file, record.where) for record in read_records(path, ())] == [
        (str(path), "line 3"),
        (str(path), "line 4"),
    ]


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbfid,text\r\n1,a\r\n\r\n")
    assert [record.values for record in read_records(path, ("id",))] == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id"', ", line 2: not valid JSON (Expecting ':' delimiter, column 6)."),
        ("a.jsonl", b'{"id": 1}\n\n{"text": 1}', ", line 3: the field 'id' is missing."),
        ("a.jsonl.gz", b'{"id": 1}\n', " is not a complete gzip file."),
        ("a.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 100, mtime=0)[:-12], " is not a complete gzip file."),
        ("a.json", b'[{"id": 1},\n{"id"]', ", line 2: not valid JSON (Expecting ':' delimiter, column 6)."),
        ("a.json", b'[{"id": 1}, {"text": 1}]', ", entry 2: the field 'id' is missing."),
        ("a.json", b'[{"id": 1}, 7]', ", entry 2: expected a JSON object, found int."),
        ("a.json", b'{"id": 1}', ": expected a JSON list of objects, found dict."),
        ("a.json", b'[{"id": "half \\ud83d"}]', ": not valid JSON ('utf-8' codec can't encode character"),
        ("a.json", b"\xff", ": not valid JSON ('utf-8' codec can't decode byte"),
        ("a.csv", b"name,text\n1,a\n", ": the column 'id' is missing; it has name, text."),
        ("a.csv", b"id,id\n1,2\n", ": two columns have the same name; it has id, id."),
        ("a.csv", b"id,text\n1,a\n2\n", ", line 3: 1 cells, but the header has 2."),
        ("a.csv", b'id,text\n1,"a\n', ", line 2: not valid CSV (unexpected end of data)."),
        ("a.csv", b"id\n\xff\n", ", line 2: not valid UTF-8 (invalid start byte): save it as CSV UTF-8."),
        (
            "a.csv",
            b"id,cat\xe9gorie\n1,x\n",
            ", line 1: not valid UTF-8 (invalid continuation byte): save it as CSV UTF-8.",
        ),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), " is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8)."),
        ("a.csv", "id,text\n1,a\n".encode("utf-16-le"), " is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8)."),
        ("a.json", '[{"id": 1}]'.encode("utf-16"), " is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8)."),
        ("a.jsonl", '{"id": 1}\n'.encode("utf-16"), " is UTF-16: save it as UTF-8 (in a spreadsheet: CSV UTF-8)."),
        ("a.jsonl", b'{"id": 1, "id": 2}\n', ", line 1: not valid JSON (the field 'id' occurs twice)."),
        ("a.json", b'[{"id": {"a": 1, "a": 1}}]', ": not valid JSON (the field 'a' occurs twice)."),
        ("a.parquet", b"PAR1 nothing", " cannot be read as Parquet: "),
        ("a.txt", b"", " cannot be read: its name must end in .jsonl, .jsonl.gz, .json, .parquet or .csv."),
    ],
)
def test_bad_file_is_named_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert complaint(path, "id").startswith(f"{path}{sentence}")


def test_parquet_without_the_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.parquet", ROWS)
    assert complaint(path, "label") == f"{path}: the column 'label' is missing; it has id, text."


@pytest.mark.parametrize("name", ["none.jsonl", "none.json", "none.parquet", "none.csv"])
def test_file_that_does_not_exist_is_named(tmp_path: Path, name: str) -> None:
    assert complaint(tmp_path / name) == f"{tmp_path / name} cannot be read: no such file or directory."


def test_folder_is_read_in_the_order_of_names_and_each_record_knows_its_file(tmp_path: Path) -> None:
    for name in ("b.csv", "a.jsonl", "c/d.json", ".hidden.csv", "readme.md"):
        write(tmp_path / name, [{"id": name}])
    (tmp_path / "readme.md").write_text("no records")
    records = list(read_records(tmp_path, ("id",)))
    assert [(record.part, record.values["id"]) for record in records] == [
        ("a", "a.jsonl"),
        ("b", "b.csv"),
        ("c/d", "c/d.json"),
    ]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("Natural", "Adversarial/Manual"):
        write(tmp_path / folder / "dataset.json", [{"id": folder}])
    records = read_records(tmp_path, ("id",))
    assert [record.part for record in records] == ["Adversarial/Manual", "Natural"]


def test_pattern_chooses_the_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("data/raw-0.jsonl", "data/filtered-0.jsonl"):
        write(tmp_path / name, [{"id": name}])
    records = list(read_records(tmp_path, ("id",), "**/filtered-*"))
    assert [(record.part, record.values["id"]) for record in records] == [(None, "data/filtered-0.jsonl")]


def test_folder_without_a_file_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("no records")
    kinds = ".jsonl, .jsonl.gz, .json, .parquet or .csv"
    assert complaint(tmp_path) == f"The folder {tmp_path} has no file '**/*' that ends in {kinds}."
    assert "has no file '*.csv' that" in complaint(tmp_path, files="*.csv")


def test_bad_file_of_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"id": "1"}])
    write(tmp_path / "b.jsonl", [{"text": "1"}])
    assert complaint(tmp_path, "id") == f"{tmp_path / 'b.jsonl'}, line 1: the field 'id' is missing."
