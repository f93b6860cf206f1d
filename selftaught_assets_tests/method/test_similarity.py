"""Similarity of texts against its definition, and near-repetitions with the promised error."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method import instructions
from selftaught_assets.method.instructions import distinct_share, earlier_likeness, jaccard

TEXT = st.text(alphabet="abc 😀\n", max_size=12)


def runs_of(text: str, size: int) -> set[str]:
    plain = " ".join(text.lower().split()).ljust(size, "\0")
    return {plain[start : start + size] for start in range(len(plain) - size + 1)}


def by_definition(left: str, right: str, size: int) -> float:
    one, other = runs_of(left, size), runs_of(right, size)
    return len(one & other) / len(one | other)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_similarity_is_jaccards_index_of_character_runs(pairs: list[tuple[str, str]]):
    left, right = (pl.Series(side, dtype=pl.String) for side in zip(*pairs, strict=True))
    assert jaccard(left, right).to_list() == pytest.approx([by_definition(*pair, 3) for pair in pairs])


def test_case_and_white_space_do_not_count():
    assert jaccard(pl.Series(["Sort  THESE\nwords"]), pl.Series([" sort these words "])).to_list() == [1.0]


def test_null_is_an_empty_text():
    assert jaccard(pl.Series([None, None], dtype=pl.String), pl.Series(["", "abc"])).to_list() == [1.0, 0.0]


def sentences(count: int) -> list[str]:
    vocabulary = [f"w{n}" for n in range(3000)]
    return [" ".join(random.Random(number).choices(vocabulary, k=30)) for number in range(count)]


def test_near_repetitions_are_found_with_the_row_that_they_repeat():
    texts = sentences(200)
    changed = [text + " x" for text in texts[:20]]
    found = earlier_likeness(pl.Series(texts + changed), 0.8).to_list()
    assert found[:200] == [None] * 200
    assert sum(row == number for number, row in enumerate(found[200:])) >= 19


def test_equal_texts_all_repeat_the_first():
    assert earlier_likeness(pl.Series(["one text"] * 4), 0.8).to_list() == [None, 0, 0, 0]


@pytest.mark.parametrize(("kept", "share"), [(29, (0.9, 1.0)), (18, (0.0, 0.1))])
def test_texts_on_either_side_of_the_threshold_are_told_apart(kept: int, share: tuple[float, float]):
    """29 of 30 words kept is a similarity of about 0.9, 18 of 30 one of about 0.43."""
    texts, others = sentences(200), sentences(400)[200:]
    changed = [
        " ".join([*text.split()[:kept], *other.split()[kept:]]) for text, other in zip(texts, others, strict=True)
    ]
    found = earlier_likeness(pl.Series(texts + changed), 0.8)[200:]
    assert share[0] <= found.count() / 200 <= share[1]


def test_what_is_found_is_as_alike_as_was_asked():
    """Of a thousand texts of one wording, some share 0.8 of their minima by chance, with an index of 0.65."""
    draws = random.Random(1)
    wording = (
        "The instruction asks to sort the numbers up. Response A gives {} and response B gives {}. The order of the "
        "first is checked number by number, so the verdict follows from it: [[A]]"
    )
    lists = [" ".join(str(draws.randrange(10, 99)) for _ in range(6)) for _ in range(2000)]
    texts = [wording.format(*pair) for pair in zip(lists[::2], lists[1::2], strict=True)]
    texts += [text + "." for text in texts[:50]]
    found = earlier_likeness(pl.Series(texts), 0.8).to_list()
    assert found[1000:] == list(range(50))
    assert all(
        by_definition(text, texts[row], 5) >= 0.8 for text, row in zip(texts, found, strict=True) if row is not None
    )


def test_no_text_repeats_nothing():
    assert earlier_likeness(pl.Series([], dtype=pl.String), 0.8).to_list() == []
    assert jaccard(pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.String)).to_list() == []


def test_portions_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    texts = pl.Series(["", "a", *sentences(6), *sentences(6)])
    whole = earlier_likeness(texts, 0.8).to_list(), jaccard(texts, texts.reverse()).to_list()
    monkeypatch.setattr(instructions, "BATCH", 3)
    assert (earlier_likeness(texts, 0.8).to_list(), jaccard(texts, texts.reverse()).to_list()) == whole


def test_distinct_2_counts_pairs_of_words_within_texts():
    """a b, b a, a b of the first; c d of the second: three of four differ."""
    assert distinct_share(pl.Series(["a b a b", "c d", "e", None])) == 3 / 4
    assert distinct_share(pl.Series(["e", ""])) is None
