"""A real Chromium for tests of pages, driven by Playwright: what a page reports and asks for is recorded.

Belongs here: starting the browser, watching a page, taking screenshots. Not here: what the pages should show.

A conftest makes the fixture known by `from selftaught_assets_tests.browser import browser`. While it lives, an asyncio
loop counts as running in this thread: servers belong into a thread or process of their own.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Route, WebSocketRoute

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCAL = ("127.0.0.1",)
SETTLING = 250
"""Milliseconds in which the browser reports what a page has just done; no event marks the end of that."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One Chromium for all tests of a module; they are skipped where it or Playwright is not installed."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} was found")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the package playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield launched
        launched.close()


@dataclass
class Watched:
    """A page and what it did that a good page does not do."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    """Errors on the console, and exceptions that nothing caught."""
    foreign: list[str] = field(default_factory=list)
    """Addresses on other hosts that were asked for. None was reached."""

    def assert_clean(self, *, known: Sequence[str] = ()) -> None:
        """Fails if the page reported an error or asked another host.

        Args:
            known: texts; an error that holds one of them is not ours and is let pass.
        """
        self.page.wait_for_timeout(SETTLING)
        unknown = [error for error in self.errors if not any(text in error for text in known)]
        assert not self.foreign, f"requests to other hosts: {self.foreign}"
        assert not unknown, f"errors of the page: {unknown}"


@contextmanager
def watched_page(
    browser: "Browser",
    *,
    hosts: Sequence[str] = LOCAL,
    width: int = 1280,
    height: int = 800,
    color_scheme: Literal["light", "dark"] = "light",
) -> Iterator[Watched]:
    """A page with a profile of its own, watched from its first request on.

    Args:
        browser: the fixture.
        hosts: that may be asked; requests to any other are recorded and blocked. Files and data need no host.
        width: of the window, in CSS pixels.
        height: of the window, in CSS pixels.
        color_scheme: that the page is told the user prefers.
    """

    def is_foreign(address: str) -> bool:
        host = urlsplit(address).hostname
        return host is not None and host not in hosts

    def note_console(message: "ConsoleMessage") -> None:
        if message.type == "error":
            watched.errors.append(f"{message.text} ({message.location.get('url')})")

    def refuse(route: "Route") -> None:
        watched.foreign.append(route.request.url)
        route.abort()

    def refuse_socket(socket: "WebSocketRoute") -> None:
        watched.foreign.append(socket.url)
        socket.close()

    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=color_scheme)
    context.route(is_foreign, refuse)
    context.route_web_socket(is_foreign, refuse_socket)
    watched = Watched(context.new_page())
    watched.page.on("console", note_console)
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    try:
        yield watched
    finally:
        context.close()


def screenshot(page: "Page", name: str) -> None:
    """Writes `<name>.png` into the folder that `SELFTAUGHT_SCREENSHOTS` names; without it nothing is written."""
    if folder := os.environ.get("SELFTAUGHT_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")
