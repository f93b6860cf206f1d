"""Which tests run in the same process, one after the other: those that share something that is slow to start.

A pytest plugin, loaded by conftest.py. With `--dist loadgroup`, pytest-xdist gives a whole group to one worker.

Belongs here: the groups and their order. Not here: what is shared.
"""

import os
import re
from pathlib import Path

import pytest

LONG = ("dagster_shipped", "first_iteration", "installed", "vllm_server", "ray_cluster", "ray_clusters", "vllm")
"""Groups that take minutes. They begin first, in this order, since what is long must not be left for the end. A group
has the name of a fixture that its tests share, or is what they are marked with."""
ROOT = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)  # Before pytest-xdist reads the marks.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts every test into one group, and the groups into the order in which they begin. All of a long one is slow."""
    groups = {item: group_of(item) for item in items}
    for item, group in groups.items():
        if group in LONG:
            item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.xdist_group(group))
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    turn = {group: (LONG.index(group) if group in LONG else len(LONG), group not in slow) for group in groups.values()}
    items.sort(key=lambda item: turn[groups[item]])


def group_of(item: pytest.Item) -> str:
    """The fixture that a test shares with tests of other files; else what it is marked with; else its file."""
    shared = [name for name in LONG if name in item.fixturenames]
    if shared:
        return shared[0]
    mark = item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else item.path.relative_to(ROOT).with_suffix("").as_posix()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where reports are shown, takes the group off the id again, so that the id can be pasted after `pytest`."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        report.nodeid = re.sub(r"@[^@\]]*$", "", report.nodeid)
