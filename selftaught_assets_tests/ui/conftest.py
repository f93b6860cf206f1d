"""The browser for tests of pages, and the Dagster that they look at."""

from selftaught_assets_tests.browser import browser
from selftaught_assets_tests.live import dagster_shipped

__all__ = ["browser", "dagster_shipped"]
