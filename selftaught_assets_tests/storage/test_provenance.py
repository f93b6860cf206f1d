from pathlib import Path

import pytest

from selftaught_assets.storage.tables import KEY, read_provenance, read_table, table_version, write_table
from selftaught_assets_tests.lineage.made import FIRST, PAIRS, provenance


def test_record_travels_in_the_file_and_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    made = provenance("pairs", FIRST, "v1", instructions="v0")
    with_it, without = tmp_path / "with.parquet", tmp_path / "without.parquet"
    write_table(with_it, PAIRS, made)
    write_table(without, PAIRS)
    assert read_provenance(with_it) == made
    assert read_provenance(without) is None
    assert read_table(with_it).equals(read_table(without))
    assert table_version(read_table(with_it)) == table_version(PAIRS)


@pytest.mark.parametrize("record", ["", "[]", '{"asset": "pairs"}'])
def test_record_that_is_none_of_ours_says_nothing(tmp_path: Path, record: str) -> None:
    PAIRS.write_parquet(tmp_path / "table.parquet", metadata={KEY: record})
    assert read_provenance(tmp_path / "table.parquet") is None


def test_absent_and_damaged_files_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert read_provenance(path) is None
    path.write_bytes(b"PAR1")
    assert read_provenance(path) is None


def test_record_of_a_later_version_is_still_read(tmp_path: Path) -> None:
    text = provenance("pairs", FIRST, "v1").model_dump_json()
    PAIRS.write_parquet(tmp_path / "table.parquet", metadata={KEY: text[:-1] + ', "new": 1}'})
    assert read_provenance(tmp_path / "table.parquet").data_version == "v1"
