"""The browser of rows at its limit, and the page that says that it holds a sample."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from selftaught_assets.report.browser import LIMIT, Rows
from selftaught_assets.report.contents import Contents, Recorded, Reviewed
from selftaught_assets.report.page import render_page
from selftaught_assets_tests.browser import watched_page
from selftaught_assets_tests.checks.tables import write_recipe

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOTAL = 1_234_567
REVIEWS = [
    Reviewed("pairs", "iteration_01", 50, 45, 0.9, 0.786, 0.957, 3),
    Reviewed("judgments", "iteration_02", 0, 0, None, None, None, 2),
]


def many_rows(count: int, per_pair: int = 5) -> Rows:
    text = pl.format("{} {}", pl.lit("lorem ipsum dolor sit amet " * 8), "number")
    pairs = pl.DataFrame({"number": range(count // per_pair)}).select(
        *(pl.format(f"{name}-{{}}", "number").alias(name) for name in ("pair_id", "instruction_id")),
        *(text.alias(name) for name in ("instruction", "modified_instruction", "chosen", "rejected")),
        *(pl.lit("same").alias(name) for name in ("generator", "strategy", "category", "source")),
        line="number",
    )
    judgments = pl.DataFrame({"number": range(count)}).select(
        pl.format("judgment-{}", "number").alias("judgment_id"),
        text.alias("judgment"),
        pair=pl.col("number") // per_pair,
        sample_index=pl.col("number") % per_pair,
        completion_tokens=pl.lit(60),
        is_correct=pl.col("number") % 2 == 0,
        example_id=pl.lit(None, dtype=pl.String),
        **{
            name: pl.lit("same")
            for name in ("iteration", "verdict", "finish_reason", "judge", "outcome", "split", "side")
        },
    )
    return Rows(pairs, judgments, TOTAL, seed=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    contents = Contents({}, None, [], Recorded(), REVIEWS)
    page = render_page(write_recipe(folder), contents, many_rows(LIMIT), data=folder, made=datetime.now(UTC))
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def test_only_one_page_of_the_rows_is_drawn_and_search_looks_at_all(browser: "Browser", path: Path) -> None:
    with watched_page(browser) as watched:
        page = watched.page
        page.goto(path.as_uri())
        page.wait_for_selector("#table[data-ready]")
        assert page.locator("#found").inner_text() == "50,000 judgments"
        assert page.locator("#table tbody tr").count() == 50
        assert page.evaluate("document.querySelectorAll('*').length") < 2_000
        page.fill("#search", "amet  49999")
        page.wait_for_function("() => document.getElementById('found').textContent === '1 of 50,000 judgments'")
        page.click("#table tbody tr")
        assert "judgment-49999" in page.locator("#panel-title").inner_text()
        watched.assert_clean()


def test_a_sample_says_that_it_is_one(path: Path) -> None:
    said = " ".join(path.read_text(encoding="utf-8").partition('id="sampled">')[2][:200].split())
    assert said.startswith("50,000 of 1,234,567 judgments, whole pairs drawn at random with seed 1.")


def test_reviews_by_people_are_shown_with_their_interval(browser: "Browser", path: Path) -> None:
    with watched_page(browser) as watched:
        watched.page.goto(path.as_uri())
        rows = [row.split("\t") for row in watched.page.locator("#reviews tbody tr").all_inner_texts()]
        assert rows == [
            ["pairs", "iteration 1", "50", "45", "90.0\u202f%", "78.6–95.7", "3"],
            ["judgments", "iteration 2", "0", "0", "–", "–", "2"],
        ]
