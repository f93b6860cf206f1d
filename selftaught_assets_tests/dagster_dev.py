"""A real `dagster dev` (webserver, daemon, code server) for tests, driven through GraphQL as its UI does it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from selftaught_assets_tests import forks
from selftaught_assets_tests.ports import unused_port

ROOT = Path(__file__).resolve().parent.parent
LOCATION = "selftaught_assets"

_LAUNCH_BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
_REEXECUTE = """
mutation Reexecute($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
_BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } }
    ... on PythonError { message }
  }
}"""
_RELOAD = """
mutation Reload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  }
}"""
_LOCATIONS = """
query Locations {
  workspaceOrError {
    ... on Workspace { locationEntries { locationOrLoadError { __typename ... on PythonError { message } } } }
  }
}"""
ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED", "COMPLETED"}


class DagsterDev:
    """`with DagsterDev(home, environment) as dagster:`; stopped, with all it started, at the end."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        path = os.pathsep.join((os.environ["PYTHONPATH"], str(ROOT)))
        own = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONPATH": path}
        self._environment = os.environ | own | dict(environment)
        self.port = unused_port()

    def __enter__(self) -> "DagsterDev":
        self._home.mkdir(parents=True, exist_ok=True)
        self._log = (self._home / "dagster_dev.log").open("wb")
        arguments = ["dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster")), *arguments],
            cwd=ROOT,
            env=self._environment | forks.address(),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_for_location()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    @contextmanager
    def fresh_runs(self) -> Iterator[None]:
        """Runs that are launched meanwhile are started as for a user, with imports and all, and not forked."""
        mark = self._home / "FRESH"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def backfill(self, assets: list[list[str]], partitions: list[str]) -> str:
        """Launches a backfill as the UI does; returns its id."""
        params = {"assetSelection": [{"path": path} for path in assets], "partitionNames": partitions}
        launched = self.graphql(_LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def reexecute(self, backfill: str, strategy: Literal["FROM_FAILURE", "ALL_STEPS"]) -> str:
        """Re-executes a backfill, as the UI's buttons do; returns the id of the new backfill."""
        params = {"parentRunId": backfill, "strategy": strategy}
        launched = self.graphql(_REEXECUTE, params=params)["reexecutePartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def wait_for_backfill(self, backfill: str, seconds: float = 900) -> str:
        """The status in which the backfill ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.graphql(_BACKFILL, id=backfill)["partitionBackfillOrError"]
            assert found["__typename"] == "PartitionBackfill", found
            if found["status"] in ENDED:
                return found["status"]
            time.sleep(0.5)
        raise AssertionError(f"backfill {backfill} did not end within {seconds} s")

    def reload(self) -> None:
        """Loads the definitions again, as the button of the UI does."""
        entry = self.graphql(_RELOAD, location=LOCATION)["reloadRepositoryLocation"]
        assert entry["__typename"] == "WorkspaceLocationEntry", entry
        assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry

    def _wait_for_location(self, seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self._home / "dagster_dev.log").read_text()
            try:
                entries = self.graphql(_LOCATIONS)["workspaceOrError"]["locationEntries"]
            except OSError:
                time.sleep(0.5)
                continue
            if entries:
                loaded = entries[0]["locationOrLoadError"]
                assert loaded["__typename"] == "RepositoryLocation", loaded
                return
            time.sleep(0.5)
        raise AssertionError(f"dagster dev did not load within {seconds} s")
