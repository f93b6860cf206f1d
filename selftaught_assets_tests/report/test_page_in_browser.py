"""The page as a reader has it: opened from a file, in a real browser, with hostile rows in it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.assets.report import write_report
from selftaught_assets_tests.browser import Watched, watched_page
from selftaught_assets_tests.report.tables import AS_SEEN, FIRST, HOSTILE, SECOND, Site, write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = 390
PWNED = "window.pwned === 1"


class Report(NamedTuple):
    """A page on disk and the tables that it was made of."""

    site: Site
    address: str

    def judgments(self) -> pl.DataFrame:
        """All sampled judgments with their iteration."""
        return pl.concat(
            self.site.table("judgments", key).with_columns(pl.lit(key).alias("iteration")) for key in (FIRST, SECOND)
        )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    site = write_site(tmp_path_factory.mktemp("site"))
    with dg.DagsterInstance.ephemeral() as instance:
        written = write_report(instance, site.family, site.family.layout.report)
    return Report(site, written.path.as_uri())


@pytest.fixture
def page(browser: "Browser", report: Report) -> "Iterator[Page]":
    """The page, opened; at the end it must have reported no error and asked no other host."""
    with watched_page(browser) as watched:
        open_page(watched, report.address)
        yield watched.page
        watched.assert_clean()


def open_page(watched: Watched, address: str) -> None:
    watched.page.goto(address)
    watched.page.wait_for_selector("#table[data-ready]")


def found(page: "Page") -> str:
    return page.locator("#found").inner_text()


def shown_rows(page: "Page") -> int:
    return page.locator("#table tbody tr").count()


def search(page: "Page", text: str) -> None:
    before = found(page)
    page.fill("#search", text)
    page.wait_for_function("before => document.getElementById('found').textContent !== before", arg=before)


def open_hostile_row(page: "Page", report: Report) -> None:
    page.evaluate("id => { location.hash = `#row=${id}` }", report.site.pair_id)
    page.wait_for_selector("#panel[open]")


def test_charts_are_drawn_without_compiling_anything(page: "Page") -> None:
    for place in page.locator(".chart:visible").all():
        place.scroll_into_view_if_needed()
        place.locator("svg").wait_for()
    assert page.locator("#curve-labelled svg").count() == 1
    assert "unsafe-eval" not in page.locator("meta[http-equiv]").get_attribute("content")


def test_hostile_texts_are_text(page: "Page", report: Report) -> None:
    search(page, "<script>window")
    for column in ("instruction", "judgment"):
        cell = page.locator(f"#table tbody td.col-{column}").first.inner_text()
        assert cell.startswith(AS_SEEN[:90])
    open_hostile_row(page, report)
    assert page.locator("#panel pre").all_inner_texts()[:5] == [AS_SEEN] * 5
    assert page.locator("#panel .chain").inner_text().count(AS_SEEN) == 2  # The file of the pool, and the category.
    assert page.locator("script").count() == 6
    assert page.locator("img, #panel b:text('bold')").count() == 0
    assert page.evaluate(PWNED) is False


def test_the_same_text_as_markup_would_run_without_the_policy_and_does_not_with_it(
    browser: "Browser", report: Report
) -> None:
    plant = "text => document.body.insertAdjacentHTML('beforeend', text)"
    with watched_page(browser) as unguarded:
        unguarded.page.set_content("<p>A page without a policy.</p>")
        unguarded.page.evaluate(plant, HOSTILE)
        unguarded.page.wait_for_function(PWNED)
    with watched_page(browser) as guarded:
        open_page(guarded, report.address)
        guarded.page.evaluate(plant, HOSTILE)
        guarded.page.evaluate("() => fetch('https://example.com/').catch(() => null)")
        guarded.page.wait_for_timeout(300)
        assert guarded.page.evaluate(PWNED) is False
        assert guarded.foreign == []
        assert [error for error in guarded.errors if "Content Security Policy" in error]


def test_search_finds_text_of_pairs_and_judgments_and_ids(page: "Page", report: Report) -> None:
    judgments = report.judgments()
    assert found(page) == f"{judgments.height} judgments"
    right = judgments.filter(pl.col("judgment").str.ends_with(" [[A]]")).height
    assert 0 < right < judgments.height
    search(page, " [[a]]")
    assert found(page) == f"{right} of {judgments.height} judgments"
    some = judgments["judgment_id"][7]
    search(page, some)
    assert found(page) == f"1 of {judgments.height} judgments"
    of_pair = judgments.filter(pl.col("pair_id") == judgments["pair_id"][7]).height
    search(page, judgments["pair_id"][7])
    assert found(page) == f"{of_pair} of {judgments.height} judgments"
    search(page, "nothing says this")
    assert found(page) == "No judgment matches."
    page.click("button[type=reset]")
    page.wait_for_function("() => document.querySelectorAll('#table tbody tr').length === 50")


def test_filters_show_what_the_tables_have(page: "Page", report: Report) -> None:
    judgments = report.judgments()
    for choice, wanted in (
        ({"#by-iteration": "2"}, pl.col("iteration") == SECOND),
        ({"#by-verdict": "B"}, pl.col("verdict") == "B"),
        ({"#by-verdict": "none"}, pl.col("verdict").is_null()),
        ({"#by-correct": "right"}, pl.col("is_correct")),
        (
            {"#by-correct": "wrong or invalid", "#by-iteration": "1"},
            ~pl.col("is_correct") & (pl.col("iteration") == FIRST),
        ),
    ):
        for select, label in choice.items():
            page.select_option(select, label=label)
        assert found(page) == f"{judgments.filter(wanted).height} of {judgments.height} judgments"
        page.click("button[type=reset]")
        page.wait_for_function(f"() => document.getElementById('found').textContent === '{judgments.height} judgments'")


def test_kept_and_dropped_judgments_can_be_told_apart_by_reason_and_split(page: "Page", report: Report) -> None:
    examples, total = report.site.table("filtered_set", FIRST), report.judgments().height
    kept = examples.filter(pl.col("drop_reason").is_null())
    validation = kept.filter(pl.col("split") == "validation").height
    wrong = examples.filter(pl.col("drop_reason") == "wrong_verdict").height
    for select, label, number in (
        ("#by-outcome", "kept", kept.height),
        ("#by-split", "validation", validation),
        ("#by-split", "all", kept.height),
        ("#by-outcome", "wrong verdict", wrong),
        ("#by-outcome", "dropped (any reason)", total - kept.height),
    ):
        page.select_option(select, label=label)
        assert found(page) == f"{number} of {total} judgments"
    assert validation > 0 < wrong


def test_a_row_shows_its_whole_lineage(page: "Page", report: Report) -> None:
    example = report.site.table("filtered_set", FIRST).filter(pl.col("drop_reason").is_null()).row(3, named=True)
    pair = report.site.table("pairs", FIRST).row(by_predicate=pl.col("pair_id") == example["pair_id"], named=True)
    pool = report.site.table("instruction_pool")
    line = pool.row(by_predicate=pl.col("instruction_id") == pair["instruction_id"], named=True)["line"]
    search(page, example["judgment_id"])
    page.locator("#table tbody tr").click()
    chain = page.locator("#panel .chain").inner_text()
    for fact in (
        f"line {line}",
        pair["instruction_id"],
        pair["pair_id"],
        example["example_id"],
        example["split"],
        "no finished checkpoint yet",
    ):
        assert fact in chain
    texts = page.locator("#panel pre").all_inner_texts()
    assert texts[:4] == [pair[name] for name in ("instruction", "modified_instruction", "chosen", "rejected")]
    assert page.locator("#panel .block.chosen h4").inner_text().startswith("✓ Chosen response")
    of_pair = report.judgments().filter(pl.col("pair_id") == pair["pair_id"])
    assert page.locator("#panel .judgments li").count() == of_pair.height == 6
    current = page.locator("#panel .judgments .current")
    assert example["judgment_id"] in current.inner_text() and "kept" in current.inner_text()
    assert page.url.endswith(f"#row={example['judgment_id']}")


def test_everything_can_be_done_by_keyboard(page: "Page") -> None:
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("[[A]]")
    page.wait_for_function("() => document.getElementById('found').textContent.includes(' of ')")
    for _ in range(6 + 1 + 8):  # Selects and the button of the form, then the heads of the columns.
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid", page.evaluate("document.activeElement.outerHTML")
    if page.evaluate("document.activeElement.tagName") != "TR":
        page.keyboard.press("Tab")
    focused = "[...document.querySelectorAll('#table tbody tr')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate(focused) == 1
    page.keyboard.press("Enter")
    first = page.locator("#panel-title").inner_text()
    page.keyboard.press("j")
    assert page.locator("#panel-title").inner_text() != first
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    page.wait_for_function(f"() => {focused} === 2")  # The browser tells the page a moment later that it is closed.
    assert "#row=" not in page.url


def test_arrow_keys_turn_the_page_and_buttons_too(page: "Page") -> None:
    assert page.locator("#page-of").inner_text().startswith("Page 1 of ")
    page.locator("#table tbody tr").last.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#page-of").inner_text().startswith("Page 2 of ")
    page.click("#previous")
    assert page.locator("#page-of").inner_text().startswith("Page 1 of ")
    assert page.locator("#first").is_disabled()


def test_columns_sort_both_ways(page: "Page", report: Report) -> None:
    button = page.locator("#table th.col-judgment button")
    judgments = report.judgments()["judgment"]
    for order, expected in (("ascending", judgments.min()), ("descending", judgments.max())):
        button.click()
        assert page.locator("#table th.col-judgment").get_attribute("aria-sort") == order
        assert page.locator("#table tbody td.col-judgment").first.inner_text().startswith(expected[:7])


@pytest.mark.parametrize("kind", ["judgment", "pair"])
def test_an_address_opens_a_row(browser: "Browser", report: Report, kind: str) -> None:
    judgment = report.judgments().row(0, named=True)
    with watched_page(browser) as watched:
        open_page(watched, f"{report.address}#row={judgment[f'{kind}_id']}")
        assert judgment["pair_id"] in watched.page.locator("#panel[open] .chain").inner_text()
        watched.page.keyboard.press("Escape")
        watched.page.locator("#table tbody tr").nth(5).click()
        watched.page.go_back()
        watched.page.locator("#panel").wait_for(state="hidden")
        watched.assert_clean()


def test_an_address_of_no_row_says_so_and_one_of_an_iteration_opens_it(browser: "Browser", report: Report) -> None:
    with watched_page(browser) as watched:
        open_page(watched, f"{report.address}#row=<b>0000</b>")
        assert "<b>0000</b>" in watched.page.locator("#panel[open]").inner_text()
        watched.assert_clean()
    with watched_page(browser) as watched:
        open_page(watched, f"{report.address}#{FIRST}")
        assert watched.page.locator(f"#{FIRST}[open] figure").first.is_visible()
        watched.assert_clean()


def test_colours_follow_the_system_and_the_button(browser: "Browser", report: Report) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('#curve-labelled svg text')).fill"
    seen = {}
    for scheme in ("light", "dark"):
        with watched_page(browser, color_scheme=scheme) as watched:
            open_page(watched, report.address)
            watched.page.locator("#curve-labelled svg").wait_for()
            seen[scheme] = (watched.page.evaluate(ground), watched.page.evaluate(label))
            if scheme == "dark":
                watched.page.click("#theme")  # From auto to light.
                watched.page.wait_for_function(f"before => {label} !== before", arg=seen["dark"][1])
                assert (watched.page.evaluate(ground), watched.page.evaluate(label)) == seen["light"]
            watched.assert_clean()
    assert set(seen["light"]).isdisjoint(seen["dark"])


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: "Browser", report: Report) -> None:
    too_wide = "document.documentElement.scrollWidth > innerWidth"
    with watched_page(browser, width=PHONE, height=844) as watched:
        page = watched.page
        open_page(watched, report.address)
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        for place in page.locator(".chart").all():
            place.scroll_into_view_if_needed()
            place.locator("svg").wait_for()
        assert page.evaluate(too_wide) is False
        cell = page.locator("#table tbody td.col-judgment").first.bounding_box()
        assert cell["width"] > 0.7 * PHONE  # A card, not a cell of a table.
        open_hostile_row(page, report)
        assert page.evaluate(too_wide) is False
        assert page.evaluate("document.getElementById('panel').scrollWidth <= innerWidth") is True
        watched.assert_clean()
