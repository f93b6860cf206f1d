import errno
import tracemalloc
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from upath import UPath

from selftaught_assets.assets.io_manager import (
    SAMPLE_CHARACTERS,
    SAMPLE_ROWS,
    TableIOManager,
    as_failed_step,
    sample_rows,
)
from selftaught_assets.errors import UserError
from selftaught_assets.method.prompts import PromptTemplateError
from selftaught_assets.storage.tables import read_table, table_version

KEY = dg.AssetKey(["small", "pairs"])
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
TABLE = pl.DataFrame(
    {
        "instruction": ["a\u2028b", "<|im_end|> é🦉", "x" * 500],
        "messages": [[{"role": "user", "content": "hi"}], [], None],
        "votes": [1, None, 3],
        "drop_reason": [None, "empty", None],
    },
    schema_overrides={"messages": MESSAGES, "drop_reason": pl.String},
)


def _manager(root: Path) -> TableIOManager:
    return TableIOManager(base_path=UPath(root))


def _store(root: Path, frame: pl.DataFrame, partition: str | None = None) -> dict:
    with dg.build_output_context(asset_key=KEY, partition_key=partition) as context:
        _manager(root).handle_output(context, frame)
        return context.consume_logged_metadata()


def _load(root: Path) -> pl.DataFrame:
    with dg.build_input_context(asset_key=KEY) as context:
        return _manager(root).load_input(context)


@pytest.mark.parametrize("name", ["data", "da[t]a *é"], ids=["plain folder", "folder that looks like a pattern"])
def test_table_is_loaded_as_it_was_stored(tmp_path: Path, name: str) -> None:
    _store(tmp_path / name, TABLE)
    assert _load(tmp_path / name).equals(TABLE)
    assert _load(tmp_path / name).schema == TABLE.schema


def test_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    _store(tmp_path, TABLE.clear())
    assert _load(tmp_path).schema == TABLE.schema


def test_partition_is_a_file_of_its_own_with_nothing_beside_it(tmp_path: Path) -> None:
    _store(tmp_path, TABLE, "iteration_01")
    folder = tmp_path / "small" / "pairs"
    assert list(folder.iterdir()) == [folder / "iteration_01.parquet"]
    assert read_table(folder / "iteration_01.parquet").equals(TABLE)


def test_row_count_is_under_the_name_that_dagster_plots(tmp_path: Path) -> None:
    assert _store(tmp_path, TABLE)["dagster/row_count"].value == 3
    assert _store(tmp_path, TABLE, "iteration_01")["dagster/partition_row_count"].value == 3


def test_sample_shows_kept_rows_with_long_texts_cut_and_without_conversations() -> None:
    sample = sample_rows(TABLE)
    assert [record.data["votes"] for record in sample.records] == ["1", "3"]
    assert {len(record.data["instruction"]) for record in sample.records} == {3, SAMPLE_CHARACTERS}
    assert "messages" not in sample.records[0].data


def test_sample_is_small() -> None:
    assert len(sample_rows(pl.DataFrame({"a": range(100)})).records) == SAMPLE_ROWS


def test_table_that_is_not_there_fails_the_step_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure) as caught:
        _load(tmp_path)
    path = tmp_path / "small" / "pairs.parquet"
    assert caught.value.description == f"The table {path} does not exist: materialize `small/pairs` first."
    assert read_table(path) is None


@pytest.mark.parametrize("share", [0, 0.5, 0.99], ids=["empty", "half", "footer cut"])
def test_damaged_table_fails_the_step_with_one_sentence(tmp_path: Path, share: float) -> None:
    _store(tmp_path, TABLE)
    path = tmp_path / "small" / "pairs.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(dg.Failure) as caught:
        _load(tmp_path)
    assert caught.value.description == f"The table {path} is damaged: materialize it again."
    with pytest.raises(UserError, match="is damaged"):
        read_table(path)


def test_version_changes_with_a_value_a_name_and_the_order_of_rows() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    others = [
        frame.with_columns(a=pl.Series([1, 3])),
        frame.rename({"b": "c"}),
        frame.reverse(),
        frame.with_columns(b=pl.Series(["x", ""])),
    ]
    assert table_version(frame) == table_version(frame.clone())
    assert len({table_version(each) for each in (frame, *others)}) == 5


def test_version_changes_with_the_type_of_a_column() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    others = [frame.cast({"a": pl.Int8}), frame.cast({"a": pl.String}), frame.cast({"b": pl.Categorical})]
    assert len({table_version(each) for each in (frame, *others)}) == 4


def test_version_tells_texts_apart_by_where_they_end() -> None:
    texts = (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], [None, "abc"])
    assert len({table_version(pl.DataFrame({"a": pl.Series(text, dtype=pl.String)})) for text in texts}) == 5


def test_version_does_not_depend_on_the_row_groups_of_the_file(tmp_path: Path) -> None:
    rows = 2_500
    frame = pl.DataFrame(
        {
            "text": [None if row % 7 == 0 else f"é {row}" for row in range(rows)],
            "messages": [[{"role": "user", "content": str(row)}] for row in range(rows)],
            "share": [row / 3 for row in range(rows)],
        }
    )
    versions = {table_version(frame), table_version(pl.concat([frame[:1_000], frame[1_000:]], rechunk=False))}
    for together in (1, 700, rows):
        frame.write_parquet(tmp_path / "table.parquet", row_group_size=together)
        versions.add(table_version(pl.read_parquet(tmp_path / "table.parquet")))
    assert len(versions) == 1


def test_the_memory_of_a_version_does_not_grow_with_the_table() -> None:
    def peak(rows: int) -> int:
        texts = pl.Series("text", [f"{row:05}" * 100 for row in range(rows)])
        frame = pl.DataFrame([texts, pl.Series("parts", [[row] * 5 for row in range(rows)])])
        tracemalloc.start()
        try:
            table_version(frame)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8_000) < 1.3 * peak(2_000)


@pytest.mark.parametrize(
    "error",
    [
        UserError("The sentence."),
        PromptTemplateError("The sentence."),
        OSError(errno.EROFS, "", "/data/pairs.parquet"),
    ],
)
def test_what_a_user_can_mend_fails_the_step_with_its_sentence(error: Exception) -> None:
    sentence = r"(The sentence\.|/data/pairs.parquet cannot be used: read-only file system)"
    with pytest.raises(dg.Failure, match=sentence), as_failed_step():
        raise error
