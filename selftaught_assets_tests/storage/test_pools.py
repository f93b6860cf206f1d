"""Pools of every format, out of real files."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.recipe.pool import Pool
from selftaught_assets.storage.pools import pool_records, read_pool

TURNS = [{"role": "user", "content": "What is a quark?"}, {"role": "assistant", "content": "A particle."}]
WILD = {"conversation_hash": "h1", "conversation": TURNS, "language": "English", "toxic": False, "turn": 1}


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(**pool: Any) -> list[dict[str, object]]:
    return list(pool_records(Pool(**pool)))


def test_alpaca_has_an_instruction_and_the_text_that_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    records = [{"instruction": "Shorten it.", "input": "A long text."}, {"instruction": "Sing.", "input": ""}]
    path.write_text(json.dumps(records))
    texts = [record["instruction"] for record in read(path=path, format="alpaca")]
    assert texts == ["Shorten it.\n\nInput:\nA long text.", "Sing."]


def test_conversations_come_out_of_parquet_too(tmp_path: Path) -> None:
    pl.DataFrame({"conversation": [TURNS, TURNS[1:]], "id": ["a", "b"]}).write_parquet(tmp_path / "chats.parquet")
    records = read(path=tmp_path / "chats.parquet", format="messages", instruction_field="conversation", id_field="id")
    assert records == [
        {"line": 1, "pool_id": "a", "source": "chats.parquet", "category": None, "instruction": "What is a quark?"},
        {"line": 2, "pool_id": "b", "source": "chats.parquet", "category": None, "drop_reason": "no_instruction"},
    ]


def test_wildchat_keeps_languages_and_turns_that_are_wanted(tmp_path: Path) -> None:
    others = ({"language": "German"}, {"toxic": True}, {"turn": 3})
    rows = [WILD, *(WILD | {"conversation_hash": f"h{at}"} | other for at, other in enumerate(others, start=2))]
    path = lines(tmp_path / "wild.jsonl", *rows)
    keep = {"language": ["English"], "toxic": [False], "turn": [1, 2]}
    records = read(path=path, format="wildchat", keep=keep)
    assert [record.get("drop_reason") for record in records] == [None, "filtered", "filtered", "filtered"]
    assert [record["pool_id"] for record in records] == ["h1", "h2", "h3", "h4"]


def test_several_sources_keep_names_files_and_lines_apart(tmp_path: Path) -> None:
    (tmp_path / "chats").mkdir()
    for name in ("one", "two"):
        lines(tmp_path / "chats" / f"{name}.jsonl", {"messages": TURNS, "id": 1})
    (tmp_path / "table.csv").write_text("text,kind\nSort it.,sorting\n")
    with gzip.open(tmp_path / "more.jsonl.gz", "wt") as file:
        file.write('\n{"instruction": "Add it."}\n')
    sources = [
        {"name": "chats", "path": tmp_path / "chats", "format": "messages", "id_field": "id", "files": "one.jsonl"},
        {"name": "both", "path": tmp_path / "chats", "format": "messages"},
        {"name": "table", "path": tmp_path / "table.csv", "instruction_field": "text", "category_field": "kind"},
        {"name": "more", "path": tmp_path / "more.jsonl.gz"},
    ]
    places = [(record.source, record.line) for record in read_pool(Pool(sources=sources))]
    assert places == [("chats", 1), ("both/one", 1), ("both/two", 1), ("table", 2), ("more", 2)]
    records = read(sources=sources)
    assert [record["category"] for record in records] == [None, None, None, "sorting", None]


@pytest.mark.parametrize(
    ("record", "pool", "sentence"),
    [
        ({"instruction": 7}, {}, "line 1: 'instruction' must be text, not 7"),
        ({"messages": "hello"}, {"format": "messages"}, "line 1: 'messages' must be a list of turns, not 'hello'"),
        ({"instruction": "x"}, {"keep": {"language": ["English"]}}, "line 1: the field 'language' is missing"),
        ({"instruction": "x"}, {"format": "wildchat"}, "line 1: the field 'conversation' is missing"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(
    tmp_path: Path, record: dict[str, object], pool: dict[str, Any], sentence: str
) -> None:
    path = lines(tmp_path / "pool.jsonl", record)
    with pytest.raises(UserError, match=sentence):
        read(path=path, **pool)


def test_an_id_may_be_that_of_another_source_but_not_twice_in_one(tmp_path: Path) -> None:
    one, other = (lines(tmp_path / f"{name}.jsonl", {"instruction": name, "id": 1}) for name in "ab")
    sources = [{"name": path.stem, "path": path, "id_field": "id"} for path in (one, other)]
    assert [record["pool_id"] for record in read(sources=sources)] == ["1", "1"]
    lines(one, {"instruction": "a", "id": 1}, {"instruction": "b", "id": 1})
    with pytest.raises(
        UserError, match=r"a\.jsonl, line 2: the id 1 is already in .*a\.jsonl, line 1; ids must differ"
    ):
        read(sources=sources)


def test_what_a_model_wrote_is_an_instruction_where_it_ended(tmp_path: Path) -> None:
    path = lines(tmp_path / "pool.jsonl", {"instruction": "Sort it."})
    pool = Pool(sources=[{"name": "file", "path": path}, {"name": "own", "magpie": {"count": 3}}])
    written = [
        {"text": " Add it. ", "finish_reason": "stop"},
        {"text": "Add it and", "finish_reason": "length"},
        {"text": "", "finish_reason": "failed"},
    ]
    records = list(pool_records(pool, lambda source: written))
    assert [record["instruction"] for record in records] == ["Sort it.", "Add it.", "Add it and", ""]
    assert [record.get("drop_reason") for record in records] == [None, None, "truncated", "failed"]
    places = [(record["source"], record["line"]) for record in records]
    assert places == [("file", 1), ("own", 1), ("own", 2), ("own", 3)]
    assert [(record.source, record.line) for record in read_pool(pool)] == places
