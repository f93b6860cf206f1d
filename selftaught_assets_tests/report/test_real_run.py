"""The report of a real run: real sampling, real training, real checks, and every chart drawn."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from selftaught_assets.report.reading import read_iterations
from selftaught_assets_tests.assets.loop import Loop, copy_of
from selftaught_assets_tests.browser import screenshot, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHARTS = ("funnel", "passes", "lengths", "sides", "labels", "loss")
"""Of an iteration."""


@pytest.fixture(scope="module")
def loop(first_iteration: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with copy_of(first_iteration, tmp_path_factory.mktemp("report")) as copied:
        copied.run("progress")
        yield copied


@pytest.mark.parametrize(
    ("name", "options"),
    [("report", {}), ("report_dark", {"color_scheme": "dark"}), ("report_phone", {"width": 390})],
)
def test_every_chart_check_and_row_of_a_run_is_shown(
    loop: Loop, browser: "Browser", name: str, options: dict[str, object]
) -> None:
    with watched_page(browser, **options) as watched:
        page = watched.page
        page.goto(loop.layout.report.as_uri())
        drawn = [f"{chart}-iteration_01" for chart in CHARTS]
        for place in ("curve-tiny", "positions-tiny", "reliability-tiny", "attacks", *drawn):
            page.locator(f"#{place}").scroll_into_view_if_needed()
            page.locator(f"#{place} svg").wait_for()
        page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        screenshot(page, name)
        badge = page.locator("#iteration_01 summary .badge")
        assert re.fullmatch(r"1 of [2-9]\d checks not passed", badge.inner_text())  # The set is small, as a check says.
        assert "warn" in badge.get_attribute("class")
        assert page.locator(".notice").count() == 0
        page.select_option("#by-outcome", label="kept")
        page.locator("#table tbody tr").first.click()
        assert "not the judge of any iteration yet" in page.locator("#panel .chain").inner_text()
        screenshot(page, f"{name}_row")
        watched.assert_clean()


def test_the_asset_shows_the_loss_of_a_run_in_dagster(loop: Loop) -> None:
    metadata = loop.metadata("report")
    assert all(0 < len(metadata[name]) < 60_000 for name in ("learning_curve", "funnel", "loss"))


def test_the_way_from_the_pool_ends_with_what_was_trained_on(loop: Loop) -> None:
    (iteration, *_) = read_iterations(loop.layout, loop.recipe)
    examples, trained = iteration.funnel[-2:]
    assert trained.rows == iteration.manifest.metrics.examples > 0
    assert trained.lost == {"held_out": iteration.manifest.metrics.validation_examples}
    assert examples.rows == trained.rows + trained.lost["held_out"] > trained.rows
