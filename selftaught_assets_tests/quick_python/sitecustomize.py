"""Takes waiting and work out of the processes that tests start. Python imports a module of this name at its start, and
conftest.py puts this folder into the path of all of them.

Imports leave so many objects that Python's collector costs a tenth of their time: here it runs seldom.

The daemon of a `dagster dev` looks for backfills every 30 seconds, which nothing configures, for queued runs every 5,
and for dead ones every 15: here each second. Runs are forked from the forkserver of the tests (forks.py), which stays
while code servers come and go with each reload, unless there is a file `FRESH` in the instance's folder.
"""

import gc
import os
import sys

gc.set_threshold(100_000, 50, 50)
if "dagster._daemon" in sys.orig_argv:
    import dagster._daemon.controller
    from dagster import DagsterInstance
    from dagster._core.run_coordinator import QueuedRunCoordinator

    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    QueuedRunCoordinator.dequeue_interval_seconds = 1
    DagsterInstance.run_monitoring_poll_interval_seconds = 1
elif {"api", "grpc"} <= set(sys.orig_argv):
    import multiprocessing
    from pathlib import Path

    from dagster._grpc.server import DagsterApiServer

    from selftaught_assets_tests.forks import context, share

    share()
    fresh = Path(os.environ["DAGSTER_HOME"]) / "FRESH"
    DagsterApiServer._mp_ctx = property(
        lambda _: multiprocessing.get_context("spawn") if fresh.exists() else context(), lambda *_: None
    )
