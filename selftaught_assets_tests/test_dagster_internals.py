"""What we import from Dagster without its promise: where it is, and that it does what we rely on.

The public interface knows the newest evaluation of a check in any partition only, and does not export the error of a
process that Pipes has started. Where one of these tests fails after an upgrade, the import that it names has to follow.
"""

import ast
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from selftaught_assets_tests.conftest import ROOT

PACKAGE = ROOT / "selftaught_assets"
CHECK = dg.AssetCheckKey(dg.AssetKey("table"), "check")


def internals() -> Iterator[tuple[str, str, str | None]]:
    """File, module and name of each import of a private module, also of those that are only named."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file, source = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if "dagster._" in source else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster._"):
                yield from ((file, node.module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((file, alias.name, None) for alias in node.names if alias.name.startswith("dagster._"))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("dagster._"):
                yield file, node.value, None


FOUND = list(internals())


@pytest.mark.parametrize(
    ("file", "module", "name"), FOUND, ids=[f"{file}:{name or module}" for file, module, name in FOUND]
)
def test_every_internal_of_dagster_is_where_we_import_it(file: str, module: str, name: str | None) -> None:
    moved = f"Dagster {dg.__version__} has moved {module}{f'.{name}' if name else ''}: correct {file}."
    try:
        found = importlib.import_module(module)
    except ImportError:
        pytest.fail(moved)
    assert name is None or hasattr(found, name), moved
    assert name is None or not hasattr(dg, name), (
        f"Dagster {dg.__version__} exports {name}: import it from there in {file}."
    )


@pytest.fixture
def evaluated() -> Iterator[dg.DagsterInstance]:
    """A check that passed in one partition, failed in another, and failed without a partition."""
    with dg.DagsterInstance.ephemeral() as instance:
        for partition, passed in (("one", True), ("two", False), (None, False)):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=CHECK.asset_key,
                    check_name=CHECK.name,
                    passed=passed,
                    metadata={},
                    severity=dg.AssetCheckSeverity.ERROR,
                    partition=partition,
                )
            )
        yield instance


@pytest.mark.parametrize(("partition", "passed"), [("one", True), ("two", False), (None, False)])
def test_newest_evaluation_of_a_check_is_found_by_partition(
    evaluated: dg.DagsterInstance, partition: str | None, passed: bool
) -> None:
    from dagster._core.event_api import PartitionKeyFilter
    from dagster._core.storage.asset_check_execution_record import (
        COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
        AssetCheckExecutionRecordStatus,
    )

    status = AssetCheckExecutionRecordStatus.SUCCEEDED if passed else AssetCheckExecutionRecordStatus.FAILED
    log, only = evaluated.event_log_storage, PartitionKeyFilter(key=partition)
    newest = log.get_latest_asset_check_execution_by_key([CHECK], partition_filter=only)
    assert newest[CHECK].status == status
    assert newest[CHECK].event.dagster_event.asset_check_evaluation_data.severity == dg.AssetCheckSeverity.ERROR
    (record,) = log.get_asset_check_execution_history(
        CHECK, limit=1, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES, partition_filter=only
    )
    assert (record.status, record.evaluation.passed) == (status, passed)
    other = PartitionKeyFilter(key="three")
    assert CHECK not in log.get_latest_asset_check_execution_by_key([CHECK], partition_filter=other)


def test_process_of_pipes_that_is_killed_says_by_which_signal() -> None:
    from dagster._core.errors import DagsterPipesExecutionError

    kill = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]

    @dg.asset
    def killed(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with pytest.raises(DagsterPipesExecutionError, match=r"code -9$"):
            dg.PipesSubprocessClient().run(context=context, command=kill, cwd=str(Path.cwd()), env=dict(os.environ))
        return dg.MaterializeResult()

    assert dg.materialize([killed]).success
