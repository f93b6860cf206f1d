"""The judges of the tests of `judge`, for the commands that use them."""

from selftaught_assets_tests.judge.conftest import seed_judge, trained_judge, workplace

__all__ = ["seed_judge", "trained_judge", "workplace"]
