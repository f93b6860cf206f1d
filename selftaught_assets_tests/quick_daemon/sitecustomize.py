"""Lets Dagster's daemon look for backfills and for queued runs every second.

It looks every 30 seconds, which nothing configures, and every 5. Python imports a module of this name at its start;
DagsterDev puts this folder into the path of what it starts.
"""

import sys

if "dagster._daemon" in sys.orig_argv:
    import dagster._daemon.controller
    from dagster._core.run_coordinator import QueuedRunCoordinator

    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    QueuedRunCoordinator.dequeue_interval_seconds = 1
