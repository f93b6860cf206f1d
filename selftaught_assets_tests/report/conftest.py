"""Makes the browser known to the tests of the page."""

from selftaught_assets_tests.browser import browser  # noqa: F401
