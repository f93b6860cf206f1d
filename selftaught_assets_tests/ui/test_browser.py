"""The watched page: what it records, so that a clean page means something."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from selftaught_assets_tests.browser import screenshot, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_page_without_fault_is_clean(browser: "Browser", tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>t</title><script>console.log('fine')</script>")
    with watched_page(browser) as watched:
        watched.page.goto(page.as_uri())
        watched.assert_clean()


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("console.error('planted')", "planted"),
        ("throw new Error('planted')", "planted"),
        ("fetch('https://example.invalid/x').catch(() => 0)", "example.invalid"),
        ("new WebSocket('wss://example.invalid/x')", "example.invalid"),
    ],
)
def test_a_fault_is_recorded(browser: "Browser", tmp_path: Path, script: str, found: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>t</title><script>{script}</script>")
    with watched_page(browser) as watched:
        watched.page.goto(page.as_uri())
        with pytest.raises(AssertionError, match=found):
            watched.assert_clean()


def test_known_errors_of_others_are_let_pass(browser: "Browser") -> None:
    with watched_page(browser) as watched:
        watched.page.evaluate("console.error('planted by another')")
        watched.assert_clean(known=["planted by another"])


def test_screenshots_are_written_only_where_a_folder_is_named(
    browser: "Browser", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched_page(browser) as watched:
        monkeypatch.delenv("SELFTAUGHT_SCREENSHOTS", raising=False)
        screenshot(watched.page, "none")
        monkeypatch.setenv("SELFTAUGHT_SCREENSHOTS", str(tmp_path / "images"))
        screenshot(watched.page, "blank")
    assert [path.name for path in tmp_path.rglob("*.png")] == ["blank.png"]
