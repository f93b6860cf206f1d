"""The browser for tests of the review page."""

from selftaught_assets_tests.browser import browser

__all__ = ["browser"]
