import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.errors import UserError
from selftaught_assets.storage.inputs import read_jsonl

texts = st.text(st.characters(exclude_categories=["Cs"]))


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "pool.jsonl"
    path.write_bytes(content)
    return path


def test_line_numbers_count_blank_lines_too(tmp_path: Path) -> None:
    path = _written(tmp_path, b'{"a": 1}\n\n   \n{"a": 2}')
    assert list(read_jsonl(path, ("a",))) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    line = json.dumps({"a": f"x{separator}y"}, ensure_ascii=False)
    path = _written(tmp_path, f"{line}\n{line}\n".encode())
    assert list(read_jsonl(path, ("a",))) == [(number, {"a": f"x{separator}y"}) for number in (1, 2)]


def test_every_line_of_a_real_pool_with_line_separators_in_it_is_read(real_data: Path) -> None:
    path = real_data / "pools" / "arena_hard.jsonl"
    lines = [line for _, line in read_jsonl(path, ("instruction",))]
    assert len(lines) == path.read_bytes().count(b"\n") == 1_250
    assert any("\u2028" in line["instruction"] for line in lines)


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = _written(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n\r\n')
    assert list(read_jsonl(path, ("a",))) == [(1, {"a": 1}), (2, {"a": 2})]


def test_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert list(read_jsonl(_written(tmp_path, b""), ("a",))) == []


@given(st.lists(st.dictionaries(texts, texts | st.none() | st.integers(-(2**60), 2**60), max_size=3)))
def test_what_json_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, values: list[dict]) -> None:
    content = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path = _written(tmp_path_factory.mktemp("jsonl"), content.encode())
    assert list(read_jsonl(path, ())) == list(enumerate(values, start=1))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"a": 1', "not valid JSON (Expecting ',' delimiter, column 8)"),
        (b'{"a": 1} {"a": 2}', "not valid JSON (Extra data, column 10)"),
        (b'{"a": "\xff"}', "not valid JSON ('utf-8' codec"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON (maximum recursion depth exceeded"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not valid JSON (Exceeds the limit"),
        (b'{"a": "half a pair \\ud83d"}', "not valid JSON ('utf-8' codec can't encode character"),
        (b'["a"]', "expected a JSON object, found list"),
        (b"null", "expected a JSON object, found NoneType"),
        (b'{"b": 1}', "the field 'a' is missing"),
    ],
    ids=["cut", "two in one", "not utf-8", "deep", "huge number", "surrogate", "list", "null", "no field"],
)
def test_bad_line_is_named_in_one_sentence(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = _written(tmp_path, b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(UserError) as caught:
        list(read_jsonl(path, ("a",)))
    assert str(caught.value).startswith(f"{path}, line 3: {complaint}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "complaint"), [("none.jsonl", "no such file"), (".", "is a directory")])
def test_file_that_cannot_be_read_is_named_in_one_sentence(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(UserError, match=f"cannot be read: {complaint}"):
        list(read_jsonl(tmp_path / name, ()))
