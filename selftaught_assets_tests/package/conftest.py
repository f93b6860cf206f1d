"""The browser for tests of pages."""

from selftaught_assets_tests.browser import browser

__all__ = ["browser"]
