"""The review page as a person uses it, in a real browser against a real server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from selftaught_assets.review.answers import Kind, StoredAnswer, agreement, read_answers
from selftaught_assets.review.rows import read_rows
from selftaught_assets.review.service import Review, build_app
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.browser import Watched, watched_page
from selftaught_assets_tests.judge.serving import served
from selftaught_assets_tests.review.tables import ITERATION, layout_with_pairs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = (
    "<script>document.title='owned'</script><img src=https://attacker.example/x onerror=\"document.title='owned'\">"
    "\u202eesrever\u202c zero\u200bwidth \x07bell {{7*7}} </pre><style>body{display:none}</style>"
)
AWAY = ["net::ERR_FAILED", "net::ERR_CONNECTION_REFUSED"]
"""What the browser itself reports while the server is away."""
RETRY_MILLISECONDS = 2000
"""Of review.js: after so long it asks a server again that was away. The page's clock is put forward instead."""


def _review(layout: Layout, kind: Kind = "pairs") -> Review:
    return Review(layout, kind, ITERATION, "anna", read_rows(layout, kind, ITERATION, n=50, seed=1))


@contextmanager
def _opened(browser: "Browser", review: Review, **options: int) -> Iterator[Watched]:
    with served(build_app(review)) as address, watched_page(browser, **options) as watched:
        watched.page.goto(address)
        watched.page.get_by_role("button", name="unsure").wait_for()
        yield watched


def _wait_for_answers(page: "Page", layout: Layout, n: int, kind: Kind = "pairs") -> list[StoredAnswer]:
    page.get_by_text("all stored").wait_for()
    answers = read_answers(layout, kind)
    assert len(answers) == n
    return answers


def test_rows_are_reviewed_by_keyboard_from_the_first_to_the_last(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    review = _review(layout)
    with _opened(browser, review) as watched:
        page = watched.page
        for row in review.rows[:3]:
            page.keyboard.press(row.label.lower())
        page.keyboard.press("u")
        page.get_by_text("row 5 of 5 · 4 answered").wait_for()
        page.keyboard.press("ArrowLeft")
        page.get_by_text("row 4 of 5").wait_for()
        assert page.get_by_role("button", name="unsure").get_attribute("aria-pressed") == "true"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("b" if review.rows[4].label == "A" else "a")
        page.get_by_text("All rows are answered").wait_for()
        answers = _wait_for_answers(page, layout, 5)
        watched.assert_clean()
    assert [answer.id for answer in answers] == [row.id for row in review.rows]
    assert [answer.agrees for answer in answers] == [True, True, True, None, False]
    (found,) = agreement(layout)
    assert (found["n"], found["agreed"], found["unsure"]) == (4, 3, 1)


def test_an_answer_is_taken_back_and_help_and_notes_take_no_answer(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    with _opened(browser, _review(layout)) as watched:
        page = watched.page
        page.keyboard.press("a")
        page.get_by_text("row 2 of 5 · 1 answered").wait_for()
        page.keyboard.press("z")
        page.get_by_text("row 1 of 5 · 0 answered").wait_for()
        page.keyboard.press("?")
        page.get_by_role("heading", name="Keys").wait_for()
        page.keyboard.press("b")
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.keyboard.type("a bad one")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+a")
        page.keyboard.press("b")
        page.get_by_text("row 2 of 5 · 1 answered").wait_for()
        answers = _wait_for_answers(page, layout, 3)
        watched.assert_clean()
    assert [(answer.answer, answer.note) for answer in answers] == [("A", None), (None, None), ("B", "a bad one")]


def test_a_changed_answer_is_changed_back(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    with _opened(browser, _review(layout)) as watched:
        page = watched.page
        for key in ("a", "ArrowLeft", "b", "z"):
            page.keyboard.press(key)
        page.get_by_text("row 1 of 5 · 1 answered").wait_for()
        assert page.get_by_role("button", name="A is better").get_attribute("aria-pressed") == "true"
        answers = _wait_for_answers(page, layout, 3)
    assert [answer.answer for answer in answers] == ["A", "B", "A"]


def test_two_windows_of_one_review_store_what_is_answered_in_both(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    with _opened(browser, _review(layout)) as watched:
        other = watched.page.context.new_page()
        watched.page.route("**/api/answers", lambda route: route.abort())
        watched.page.keyboard.press("a")
        watched.page.get_by_text("1 not stored yet").wait_for()
        other.goto(watched.page.url)
        other.get_by_text("row 2 of 5 · 1 answered").wait_for()
        other.keyboard.press("b")
        other.get_by_text("all stored").wait_for()
        watched.page.unroute("**/api/answers")
        watched.page.get_by_text("all stored").wait_for()
    assert [answer.answer for answer in read_answers(layout, "pairs")][:2] == ["A", "B"]


def test_a_note_written_after_the_answer_is_stored_with_it(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    with _opened(browser, _review(layout)) as watched:
        page = watched.page
        page.keyboard.press("a")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("n")
        page.keyboard.type("on second thought")
        page.keyboard.press("Escape")
        answers = _wait_for_answers(page, layout, 2)
    assert [(answer.answer, answer.note) for answer in answers] == [("A", None), ("A", "on second thought")]


def test_a_reload_in_the_middle_loses_neither_answers_nor_a_note_nor_what_was_not_sent(
    browser: "Browser", tmp_path: Path
) -> None:
    layout = layout_with_pairs(tmp_path)
    with _opened(browser, _review(layout)) as watched:
        page = watched.page
        page.clock.install()
        page.keyboard.press("a")
        _wait_for_answers(page, layout, 1)
        page.route("**/api/answers", lambda route: route.abort())
        page.keyboard.press("b")
        page.get_by_text("1 not stored yet").wait_for()
        page.keyboard.press("n")
        page.keyboard.type("half a thou")
        page.reload()
        page.get_by_text("row 3 of 5 · 2 answered").wait_for()
        page.get_by_text("1 not stored yet").wait_for()
        assert page.get_by_label("Note").input_value() == "half a thou"
        page.unroute("**/api/answers")
        page.clock.fast_forward(RETRY_MILLISECONDS)
        answers = _wait_for_answers(page, layout, 2)
        watched.assert_clean(known=AWAY)
    assert [answer.answer for answer in answers] == ["A", "B"]


def test_what_was_answered_while_the_server_was_away_is_sent_when_it_is_back(
    browser: "Browser", tmp_path: Path
) -> None:
    layout = layout_with_pairs(tmp_path)
    with watched_page(browser) as watched:
        page = watched.page
        page.clock.install()
        with served(build_app(_review(layout))) as address:
            page.goto(address)
            page.get_by_role("button", name="unsure").wait_for()
        page.keyboard.press("a")
        page.keyboard.press("b")
        page.get_by_text("2 not stored yet").wait_for()
        with served(build_app(_review(layout)), int(address.rpartition(":")[2])):
            page.clock.fast_forward(RETRY_MILLISECONDS)
            answers = _wait_for_answers(page, layout, 2)
        watched.assert_clean(known=AWAY)
    assert [answer.answer for answer in answers] == ["A", "B"]


def test_hostile_rows_are_shown_as_text_and_do_nothing(browser: "Browser", tmp_path: Path) -> None:
    hostile = dict.fromkeys(("instruction", "chosen", "rejected"), HOSTILE)
    with _opened(browser, _review(layout_with_pairs(tmp_path, **hostile))) as watched:
        page = watched.page
        sections = page.locator("section pre")
        shown = sections.all_inner_texts()
        assert len(shown) == 3
        for text in shown:
            assert "<script>document.title='owned'</script><img src=" in text
            for mark in ("U+202E", "U+202C", "U+200B", "U+0007"):
                assert mark in text
        assert page.locator("section :is(script, img, style)").count() == 0
        assert page.title().startswith("Review of pairs")
        watched.assert_clean()


def test_a_judgment_is_reviewed_beside_its_pair(browser: "Browser", tmp_path: Path) -> None:
    layout = layout_with_pairs(tmp_path)
    review = _review(layout, "judgments")
    with _opened(browser, review) as watched:
        page = watched.page
        for name in ("Instruction", "Response A", "Response B", "Judgment"):
            page.get_by_role("heading", name=name, exact=True).wait_for()
        page.keyboard.press("g")
        (answer,) = _wait_for_answers(page, layout, 1, "judgments")
        watched.assert_clean()
    assert answer.agrees is (review.rows[0].label == "good")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_and_buttons_are_large_enough_to_touch(
    browser: "Browser", tmp_path: Path, width: int
) -> None:
    layout = layout_with_pairs(tmp_path, chosen="unbroken" * 100, instruction="word " * 500)
    with _opened(browser, _review(layout), width=width, height=844) as watched:
        page = watched.page
        assert page.evaluate("document.documentElement.scrollWidth") == width
        buttons = page.get_by_role("button").all()
        assert len(buttons) >= 7
        assert all(button.bounding_box()["height"] >= 44 for button in buttons)
        page.get_by_role("button", name="unsure").click()
        page.get_by_text("row 2 of 5 · 1 answered").wait_for()
        watched.assert_clean()
