"""Benchmarks that need no other package run small, check what they claim, and give a result in the agreed form."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.pipeline_null import measure

EXPECTED = {
    "samples": {"samples_per_kept", "vote_32"},
    "data_plane": {"data_plane", "data_plane_growth"},
    "journal_index": {"journal_index"},
    "judgments_memory": {"judgments_memory", "judgments_begin"},
    "service": {
        *("service_20", "service_20_width", "service_20_p50", "service_20_p99"),
        *("service_1_width", "service_1_p50", "service_1_p99"),
    },
    "trace": {"trace", "trace_hundredth"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_benchmark_gives_its_results(name: str, tmp_path: Path) -> None:
    main([name, "--small", "--results", str(tmp_path / "results.json")])
    written = json.loads((tmp_path / "results.json").read_text())
    assert set(written) == EXPECTED[name]
    for result in written.values():
        assert set(result) == {"value", "baseline", "ratio", "unit", "n"}
        assert result["value"] > 0


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["abacus"])
    assert "there is no benchmark 'abacus', only sampling" in capsys.readouterr().err


def test_the_null_pipeline_loses_no_row() -> None:
    assert measure(50)["rate"] > 0
