import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.report.page import visible


@given(st.text())
def test_no_control_and_no_format_character_but_joiners_in_writing_is_left(text: str) -> None:
    for place, character in enumerate(seen := visible(text)):
        category = unicodedata.category(character)
        if character in "\u200c\u200d":
            assert seen[place - 1] > "\x7f" and seen[place + 1] > "\x7f"
        elif category == "Cc":
            assert character in "\n\t"
        else:
            assert unicodedata.bidirectional(character) not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI"}


@given(
    st.text(
        st.characters(categories=("L", "M", "N", "P", "S", "Zs"), exclude_characters="\u034f\u115f\u1160\u3164\uffa0")
    )
)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202eb", "a⟨RLO⟩b"),
        ("pass\u200bword", "pass⟨ZWSP⟩word"),
        ("pass\u200dword", "pass⟨ZWJ⟩word"),
        ("\ufeff[[A]]\x00", "⟨BOM⟩[[A]]⟨U+0000⟩"),
        ("A\U000e0042", "A⟨U+E0042⟩"),
        ("one\r\ntwo\u2028", "one⟨U+000D⟩\ntwo⟨LS⟩"),
        ("👩\u200d👧 می\u200cروم", "👩\u200d👧 می\u200cروم"),
    ],
)
def test_invisible_characters_become_signs_where_they_do_not_belong_to_the_writing(text: str, seen: str) -> None:
    assert visible(text) == seen
