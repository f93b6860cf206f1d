"""A probe finds what tells a label, and finds nothing in noise."""

import random

import polars as pl
import pytest

from selftaught_assets.method.diagnostics import area_deviation, area_under_curve, probe_label
from selftaught_assets.method.scoring.statistics import wilson_interval


def rows(count: int, told: bool) -> pl.DataFrame:
    draws = random.Random(1)
    labels = [draws.choice("AB") for _ in range(count)]
    return pl.DataFrame(
        {
            "label": labels,
            "group": [str(number) for number in range(count)],
            "number": [draws.gauss(0, 1) + (2 if told and label == "A" else 0) for label in labels],
        }
    )


def test_noise_tells_nothing():
    probe = probe_label(rows(600, told=False), label="label", group="group")
    assert wilson_interval(*probe).low < 0.5 < wilson_interval(*probe).high


def test_a_number_that_tells_is_found():
    probe = probe_label(rows(4_000, told=True), label="label", group="group")
    assert probe.right / probe.n == pytest.approx(0.841, abs=0.02)  # Two normals two deviations apart.


def test_a_word_that_tells_is_found():
    told = rows(100, told=False).with_columns(word=pl.format("{}-first", "label"))
    assert probe_label(told, label="label", group="group", texts=("word",)).right == 100


def test_rows_of_a_group_are_not_learned_from_one_another():
    """Each number occurs twenty times, always with one label, in one group: by heart it would be told at once."""
    one = rows(40, told=False)
    assert probe_label(pl.concat([one] * 20), label="label", group="group").right < 0.75 * 800


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_rows_tell_nothing(count: int):
    assert probe_label(rows(count, told=True), label="label", group="group") is None


def test_the_area_is_how_often_the_first_is_larger():
    values, is_first = pl.Series([3, 1, 2, 2]), pl.Series([True, True, False, False])
    assert area_under_curve(values, is_first) == (1 + 1 + 0 + 0) / 4
    assert area_under_curve(pl.Series([2, 2]), pl.Series([True, False])) == 0.5
    assert area_under_curve(values, pl.Series([True] * 4)) is None


def test_the_deviation_is_an_upper_bound():
    """Against the spread of areas of samples from one distribution."""
    draws = random.Random(2)
    areas = [
        area_under_curve(pl.Series([draws.random() for _ in range(30)]), pl.Series([True] * 10 + [False] * 20))
        for _ in range(300)
    ]
    assert pl.Series(areas).std() < area_deviation(0.5, 10, 20)
