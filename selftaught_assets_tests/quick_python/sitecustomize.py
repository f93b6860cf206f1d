"""Takes the waiting out of a `dagster dev`. Python imports a module of this name at its start; DagsterDev puts this
folder into the path of what it starts.

The daemon looks for backfills every 30 seconds, which nothing configures, for queued runs every 5, and for dead ones
every 15: here each second. Runs are forked (forks.py), unless there is a file `FRESH` in the instance's folder.
"""

import multiprocessing
import os
import sys
from pathlib import Path

if "dagster._daemon" in sys.orig_argv:
    import dagster._daemon.controller
    from dagster import DagsterInstance
    from dagster._core.run_coordinator import QueuedRunCoordinator

    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    QueuedRunCoordinator.dequeue_interval_seconds = 1
    DagsterInstance.run_monitoring_poll_interval_seconds = 1
elif {"api", "grpc"} <= set(sys.orig_argv):
    from dagster._grpc.server import DagsterApiServer

    from selftaught_assets_tests.forks import context

    fresh = Path(os.environ["DAGSTER_HOME"]) / "FRESH"
    DagsterApiServer._mp_ctx = property(
        lambda _: multiprocessing.get_context("spawn") if fresh.exists() else context(), lambda *_: None
    )
