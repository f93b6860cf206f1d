"""The benchmark of the journal runs, finds everything, and gives its result as results.json wants it. Not how fast."""

import pytest

from benchmarks import journal_index


def test_everything_is_found_before_and_after_merging(capsys: pytest.CaptureFixture[str]) -> None:
    result = journal_index.run(small=True, rounds=1)
    assert set(result) == {"value", "baseline", "ratio", "unit", "n", "peak_gib"}
    assert result["n"] == 5_000
    said = capsys.readouterr().out
    for line in ("10 shards: 5,000 completions", "10 shards: 150", "1 merged: 5,000", "1 merged: 150"):
        assert line in said
