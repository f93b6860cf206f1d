from pathlib import Path

from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.storage.models import reference_model
from selftaught_assets_tests.conftest import ROOT


def test_importing_a_model_says_what_it_is(tmp_path: Path) -> None:
    seed = ROOT / "models" / "seed"
    done = CliRunner().invoke(app, ["model", "import", str(seed), str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    lines = {line[:17].strip(): line[17:].strip() for line in done.output.splitlines()}
    assert lines["digest"] == reference_model(seed).digest[:16]
    assert lines["model"].endswith(" parameters")
    assert lines["system message"] == "yes"
    assert f"It is in {tmp_path / 'model'}" in done.output
