"""Probes of the looks of pairs find what tells the winner, name it, and find nothing in honest pairs."""

import random
import time

import polars as pl
import pytest

from selftaught_assets.method.diagnostics import (
    FOLDS,
    Picked,
    leading_signs,
    leading_words,
    predictable_from_one_sign,
    predictable_from_words,
    signs_of,
)
from selftaught_assets.method.scoring.statistics import wilson_interval

WORDS = [f"word{number}" for number in range(60)]


def pairs(count: int, longest: int = 12) -> pl.DataFrame:
    """Honest pairs: both responses are drawn in the same way."""
    draws = random.Random(4)
    texts = [" ".join(draws.choices(WORDS, k=draws.randint(5, longest))) for _ in range(2 * count)]
    return pl.DataFrame({"chosen": texts[:count], "rejected": texts[count:]}).with_columns(
        fold=pl.int_range(pl.len()) % FOLDS
    )


def low(picked: Picked) -> float:
    return wilson_interval(round(picked.right), picked.n).low


PLANTED = {
    "begins with '**'": {"rejected": "**\n" + pl.col("rejected")},
    "ends with '[['": {"rejected": pl.col("rejected") + " [["},
    "begins with 'sure'": {"chosen": "Sure, " + pl.col("chosen")},
    "has a heading": {
        "chosen": "It is:\n# Answer\n" + pl.col("chosen"),
        "rejected": "It is:\nAnswer\n" + pl.col("rejected"),
    },
    "has a code block": {
        "chosen": "Look:\n" + pl.col("chosen") + "\nend",
        "rejected": "Look:\n```\n" + pl.col("rejected") + "\n```\nend",
    },
}


@pytest.mark.parametrize("sign", PLANTED)
def test_a_sign_of_form_on_one_side_tells_the_winner_and_is_named(sign: str):
    spoiled = pairs(60).with_columns(**PLANTED[sign])
    assert predictable_from_one_sign(spoiled).right > 55
    assert sign in [found.name for found in leading_signs(spoiled, 3)]


def test_a_sign_in_a_third_of_the_losers_is_found():
    some = pl.when(pl.int_range(pl.len()) % 3 == 0).then("`" + pl.col("rejected")).otherwise("rejected")
    spoiled = pairs(900).with_columns(rejected=some)
    assert predictable_from_one_sign(spoiled).right / 900 == pytest.approx(2 / 3, abs=0.02)
    (sign,) = leading_signs(spoiled, 1)
    assert (sign.name, sign.chosen, sign.rejected) == ("begins with '`'", 0, 300)


def test_a_word_in_the_middle_tells_the_winner_and_is_named():
    spoiled = pairs(200).with_columns(chosen=pl.col("chosen").str.replace(" ", " indeed "))
    assert predictable_from_words(spoiled).right > 190
    assert leading_words(spoiled, 1)[0].name == "indeed"
    assert low(predictable_from_one_sign(spoiled)) < 0.6


def test_honest_pairs_tell_nothing():
    honest = pairs(800)
    for probe in (predictable_from_one_sign, predictable_from_words):
        interval = wilson_interval(round(probe(honest).right), 800)
        assert interval.low < 0.5 < interval.high + 0.02


def test_losers_that_are_only_longer_tell_nothing_by_their_looks():
    longer = pairs(800).with_columns(rejected=pl.col("rejected") + " " + pl.col("rejected").shuffle(seed=1))
    for probe in (predictable_from_one_sign, predictable_from_words):
        assert low(probe(longer)) < 0.53


@pytest.mark.parametrize("chosen", ["", "same"])
def test_texts_without_a_sign_tell_nothing(chosen: str):
    plain = pl.DataFrame({"chosen": [chosen] * 20, "rejected": [chosen] * 20}).with_columns(
        fold=pl.int_range(pl.len()) % FOLDS
    )
    assert predictable_from_one_sign(plain) == predictable_from_words(plain) == (10, 20)
    assert leading_signs(plain, 3) == []


def test_markup_is_told_from_what_looks_like_it():
    assert signs_of("a - b * c") == {"begins with 'a'", "ends with 'c'"}
    assert "has a list with bullets" in signs_of("x\n- a")
    assert "has bold or italic text" in signs_of("say **no**")
    assert "has a tag" not in signs_of("1 < 2 > 0")


@pytest.mark.parametrize("character", ["<", "a", "<a", "*", "`", "|", "#", ":", " ", "\n"])
def test_long_runs_take_no_long_time(character: str):
    run = "<" + character * 50_000
    started = time.process_time()
    assert max(map(len, signs_of(run))) < 60
    assert time.process_time() - started < 2
