"""The report of a real run: real sampling, real training, real checks, and every chart drawn."""

import re
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from selftaught_assets.recipe import load_recipe
from selftaught_assets.report.reading import read_iterations
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.browser import screenshot, watched_page
from selftaught_assets_tests.conftest import SMALL, write_small_recipe

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHARTS = ("funnel", "passes", "lengths", "sides", "labels", "loss")
"""Of an iteration."""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("run")
    evaluation, held_out = SMALL["evaluation"] | {"attacks": ["plea"]}, SMALL["filter"] | {"validation_share": 0.3}
    path = write_small_recipe(folder, evaluation=evaluation, filter=held_out)
    (folder / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        loop = Loop(load_recipe(str(path)), folder / "data", instance)
        loop.run("prepare")
        loop.run("iteration", "iteration_01")
        loop.run("progress")
    return loop


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
        page.select_option("#by-fate", label="kept")
        page.locator("#table tbody tr").first.click()
        assert "the judge of no iteration so far" in page.locator("#panel .chain").inner_text()
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
