import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.errors import UserError
from selftaught_assets.judge.judge import VERDICT_SCHEMA
from selftaught_assets.judge.pair_files import Pairs, read_pairs, require_no_clash, write_verdicts

GOOD = {"id": 7, "instruction": "i", "response_a": "a", "response_b": "b", "tags": ["x", {"y": None}]}
PAIR_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def _verdicts(pairs: Pairs) -> pl.DataFrame:
    rows = [
        {"error": row.error} if row.error else {"verdict": "A", "confidence": 0.75, "votes_a": 3, "votes_b": 1}
        for row in pairs.rows
    ]
    return pl.DataFrame(rows, schema=VERDICT_SCHEMA)


def _problems(pairs: Pairs) -> list[tuple[int, str | None]]:
    return [(row.number, row.error) for row in pairs.rows]


def test_bad_lines_are_named_by_number_and_stop_nothing(tmp_path: Path) -> None:
    lines = [
        json.dumps(GOOD),
        "{oops",
        "",
        "[1]",
        json.dumps(GOOD | {"response_a": True}),
        json.dumps({key: value for key, value in GOOD.items() if key != "response_b"}),
        json.dumps(GOOD | {"instruction": " \t"}),
        '{"instruction": "\\ud800", "response_a": "a", "response_b": "b"}',
        "[" * 100_000,
        json.dumps(GOOD),
        '{"response_a": "a", "response_a": "b"}',
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"instruction": "\xff"}\n')
    found = dict(_problems(read_pairs(path)))
    assert list(found) == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert found[1] is None is found[10]
    assert found[2].startswith("not valid JSON (")
    assert found[4] == "expected a JSON object, found list"
    assert found[5] == "response_a must be text, not bool"
    assert found[6] == "the field 'response_b' is missing"
    assert found[7] == "instruction is empty"
    assert all(found[number].startswith("not valid JSON") for number in (8, 9, 11, 12))


def test_a_name_and_a_reference_are_read_where_a_row_has_them(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"pair_id": "b/1", "reference": ""}, GOOD | {"pair_id": 7}, GOOD | {"reference": "r"}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    assert pairs.texts()["pair_id"].to_list() == [None, "b/1", None, None]
    assert pairs.texts()["reference"].to_list() == [None, "", None, "r"]
    assert _problems(pairs)[2] == (3, "pair_id must be text, not int")


def test_a_text_that_no_judge_reads_is_an_error_of_its_row(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"response_b": "x" * 1_000_001}, GOOD | {"reference": "x" * 1_000_001}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert _problems(read_pairs(tmp_path / "pairs.jsonl")) == [
        (1, None),
        (2, "response_b has 1,000,001 characters, of which at most 1,000,000 are read"),
        (3, "reference has 1,000,001 characters, of which at most 1,000,000 are read"),
    ]


def test_many_columns_are_read_and_written_in_one_go(tmp_path: Path) -> None:
    names = ["instruction", "response_a", "response_b", *(f"column_{number}" for number in range(60_000))]
    (tmp_path / "pairs.csv").write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")
    pairs = read_pairs(tmp_path / "pairs.csv")
    write_verdicts(tmp_path / "out.csv", pairs, _verdicts(pairs))
    assert (tmp_path / "out.csv").read_text().split("\n")[0].split(",")[: len(names)] == names
    (tmp_path / "twice.csv").write_text(",".join([*names, "column_9"]) + "\n")
    with pytest.raises(UserError, match="has two columns 'column_9'"):
        read_pairs(tmp_path / "twice.csv")


def test_a_repeated_field_among_many_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{" + ",".join(f'"f{number}": 1' for number in range(60_000)) + ', "f9": 2}')
    assert _problems(read_pairs(tmp_path / "pairs.jsonl")) == [(1, "not valid JSON (the field 'f9' occurs twice)")]


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD | {"response_a": "one\u2028two\u0085\x0cthree"}, ensure_ascii=False) + "\n")
    (row,) = read_pairs(path).rows
    assert row.fields["response_a"] == "one\u2028two\u0085\x0cthree"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@given(texts=st.lists(st.tuples(PAIR_TEXTS, PAIR_TEXTS, PAIR_TEXTS), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_was_beside_its_verdict(suffix: str, texts, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("files")
    source, target = folder / "pairs.jsonl", folder / f"verdicts.{suffix}"
    names = ("instruction", "response_a", "response_b")
    source.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in texts))
    pairs = read_pairs(source)
    write_verdicts(target, pairs, _verdicts(pairs))
    (folder / "again").mkdir()
    again = read_pairs(target)
    assert [tuple(row.fields[name] for name in names) for row in again.rows] == texts
    assert [row.fields["verdict"] for row in again.rows] == ["A"] * len(texts)


def test_rows_keep_their_order_their_fields_and_their_errors_in_jsonl(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(f"{json.dumps(GOOD)}\nno\n{json.dumps(GOOD | {'id': 2**70})}\n")
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    write_verdicts(tmp_path / "out.jsonl", pairs, _verdicts(pairs))
    first, bad, last = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first == GOOD | dict.fromkeys(VERDICT_SCHEMA) | {
        "verdict": "A",
        "confidence": 0.75,
        "votes_a": 3,
        "votes_b": 1,
    }
    assert bad["line"] == 2
    assert bad["verdict"] is None
    assert bad["error"].startswith("not valid JSON")
    assert last["id"] == 2**70


def test_csv_rows_of_the_wrong_length_or_encoding_are_named_by_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(
        b'\xef\xbb\xbfinstruction,response_a,response_b\n"two\nlines",a,b\ni,a\ni,a,b,c\ni,\xff,b\n\ni,,b\ni,a,b\n'
    )
    assert _problems(read_pairs(path)) == [
        (2, None),
        (4, "2 fields, the header has 3"),
        (5, "4 fields, the header has 3"),
        (6, "not valid UTF-8"),
        (8, "response_a is empty"),
        (9, None),
    ]


def test_a_csv_row_of_the_wrong_length_and_encoding_can_be_written_beside_its_error(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"instruction,response_a,response_b\ni,\xff\ni,a,b\n")
    pairs = read_pairs(tmp_path / "pairs.csv")
    assert _problems(pairs) == [(2, "not valid UTF-8"), (3, None)]
    write_verdicts(tmp_path / "out.csv", pairs, _verdicts(pairs))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def test_parquet_keeps_its_types_on_the_way_to_parquet(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "day": [date(2024, 2, 29), None],
            "instruction": ["i", None],
            "response_a": ["a", "a"],
            "response_b": ["b", "b"],
            "counts": [[1], []],
        }
    )
    table.write_parquet(tmp_path / "pairs.parquet")
    pairs = read_pairs(tmp_path / "pairs.parquet")
    assert _problems(pairs) == [(1, None), (2, "instruction must be text, not NoneType")]
    write_verdicts(tmp_path / "out.parquet", pairs, _verdicts(pairs))
    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written.select(table.columns).equals(table)
    assert written.schema["counts"] == pl.List(pl.Int64)
    write_verdicts(tmp_path / "out.jsonl", pairs, _verdicts(pairs))
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["day"] == "2024-02-29"


def test_fields_of_several_kinds_become_text_in_parquet_and_lose_nothing(tmp_path: Path) -> None:
    lines = [GOOD | {"id": value} for value in (1, "two", None, 2**70)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    write_verdicts(tmp_path / "out.parquet", pairs, _verdicts(pairs))
    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written["id"].to_list() == ["1", "two", None, str(2**70)]
    assert written["instruction"].to_list() == ["i"] * 4
    assert json.loads(written["tags"][0]) == GOOD["tags"]


def test_an_output_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "out.jsonl").write_text("old")
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(ValueError):
        write_verdicts(tmp_path / "out.jsonl", pairs, _verdicts(pairs).clear())
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "pairs.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("pairs.txt", b"x", r"must end in \.jsonl, \.parquet or \.csv"),
        ("pairs.jsonl", b"\n \n", "holds no pairs"),
        ("pairs.csv", b"", "holds no pairs"),
        ("pairs.csv", b"instruction,response_a\ni,a\n", "has no column 'response_b'; it has instruction, response_a"),
        ("pairs.csv", b"instruction,response_a,response_b,x,x\ni,a,b,1,2\n", "has two columns 'x'"),
        ("pairs.csv", b"instruction,response_a,response_b,cat\xe9\ni,a,b,x\n", r"pairs\.csv, line 1: not valid UTF-8"),
        ("pairs.csv", "instruction,response_a,response_b\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("pairs.jsonl", json.dumps(GOOD).encode("utf-16-be"), "is UTF-16: save it as UTF-8"),
        ("pairs.parquet", b"no", "cannot be read as Parquet: "),
        ("gone.jsonl", None, "cannot be read: no such file or directory"),
    ],
)
def test_files_that_cannot_be_judged_are_refused_in_a_sentence(tmp_path, name, content, sentence) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_pairs(tmp_path / name)


def test_a_field_that_a_verdict_would_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps(GOOD | {"judgments": 3}) + "\n")
    pairs = read_pairs(tmp_path / "pairs.jsonl")
    require_no_clash(pairs, judgments=False)
    with pytest.raises(UserError, match="Line 1 has a field 'judgments' already"):
        require_no_clash(pairs, judgments=True)
