import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all tests run in one process")
def test_pytest_xdist_learns_the_group_of_a_test(request: pytest.FixtureRequest) -> None:
    """With pytest 9.2 it does not, and says nothing: all tests are spread (pytest-xdist#1386)."""
    assert request.node.nodeid.endswith("::test_pytest_xdist_learns_the_group_of_a_test@test_groups")
