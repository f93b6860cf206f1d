import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.scoring.calibration import (
    accuracy_coverage,
    expected_calibration_error,
    fit_calibration,
    margin,
    reliability_table,
    vote_share,
)

COUNTS = ("votes_a", "votes_b", "votes_tie", "votes_invalid")
verdicts = st.lists(st.tuples(st.sampled_from([0.0, 0.125, 0.3, 0.5, 0.625, 0.9, 1.0]), st.booleans()), min_size=1)


def votes(*counts: tuple[int, int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(counts, schema=dict.fromkeys(COUNTS, pl.Int64), orient="row")


def columns(rows: list[tuple[float, bool]]) -> tuple[pl.Series, pl.Series]:
    confidence, is_right = zip(*rows, strict=True) if rows else ((), ())
    return pl.Series(confidence, dtype=pl.Float64), pl.Series(is_right, dtype=pl.Boolean)


def calibration_error(rows: list[tuple[float, bool]]) -> float:
    return expected_calibration_error(reliability_table(*columns(rows)))


TALLIES = votes((8, 0, 0, 0), (5, 3, 0, 0), (2, 2, 0, 0), (1, 2, 5, 0), (3, 0, 0, 5), (0, 0, 0, 4), (0, 0, 0, 0))


def test_the_vote_share_is_the_leaders_part_of_all_votes():
    assert vote_share(TALLIES).to_list() == [1.0, 0.625, 0.5, 0.625, 0.375, 0.0, 0.0]


def test_the_margin_is_the_leaders_lead_over_the_next():
    assert margin(TALLIES).to_list() == [1.0, 0.25, 0.0, 0.375, 0.375, 0.0, 0.0]


@given(tallies=st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1))
def test_exchanging_the_responses_changes_no_confidence(tallies):
    swapped = votes(*((b, a, tie, invalid) for a, b, tie, invalid in tallies))
    assert vote_share(votes(*tallies)).equals(vote_share(swapped))
    assert margin(votes(*tallies)).equals(margin(swapped))
    assert (margin(swapped) <= vote_share(swapped)).all()


def test_a_reliability_table_says_how_many_verdicts_each_bin_has():
    table = reliability_table(*columns([(0.0, False), (0.3, True), (0.35, False), (1.0, True)]), bins=10)
    assert table["n"].to_list() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert table.row(3) == pytest.approx((0.3, 0.4, 2, 0.325, 0.5))
    assert table.row(1, named=True) == {"low": 0.1, "high": 0.2, "n": 0, "confidence": None, "accuracy": None}


@given(rows=verdicts, bins=st.integers(1, 12))
def test_every_verdict_is_in_the_bin_around_its_confidence(rows, bins):
    table = reliability_table(*columns(rows), bins=bins)
    assert table["n"].sum() == len(rows)
    full = table.filter(pl.col("n") > 0)
    assert full.select(pl.col("confidence").is_between(pl.col("low") - 1e-9, pl.col("high") + 1e-9).all()).item()


def test_the_calibration_error_weighs_the_distance_by_the_verdicts():
    rows = [(1.0, True), (1.0, True), (1.0, False), (0.5, True)]
    assert calibration_error(rows) == pytest.approx(3 / 4 * (1 - 2 / 3) + 1 / 4 * 0.5)


def test_a_calibrated_judge_has_no_calibration_error():
    assert calibration_error([(0.75, True)] * 3 + [(0.75, False)] + [(1.0, True), (0.0, False)]) == 0.0


def test_an_invalid_verdict_is_not_right():
    nothing = pl.Series([None], dtype=pl.Boolean)
    assert expected_calibration_error(reliability_table(pl.Series([1.0]), nothing)) == 1.0


def test_neighbouring_levels_that_fall_are_pooled():
    rows = [(0.2, False), (0.4, True), (0.6, False), (0.6, False), (0.8, True)]
    fitted = fit_calibration(*columns(rows))
    assert fitted.starts == (0.2, 0.4, 0.8)
    assert fitted.accuracies == (0.0, pytest.approx(1 / 3), 1.0)
    assert fitted.counts == (1, 3, 1)
    assert fitted.apply(pl.Series([0.0, 0.39, 0.5, 0.6, 1.0])).round(3).to_list() == [0.0, 0.0, 0.333, 0.333, 1.0]


@given(rows=verdicts, shuffle=st.randoms())
def test_a_calibration_never_falls_and_depends_on_no_order_of_rows(rows, shuffle):
    fitted = fit_calibration(*columns(rows))
    assert all(low < high for low, high in zip(fitted.accuracies, fitted.accuracies[1:], strict=False))
    assert sum(fitted.counts) == len(rows)
    shuffle.shuffle(rows)
    assert fit_calibration(*columns(rows)) == fitted


@given(rows=verdicts)
def test_a_calibrated_confidence_is_right_on_average_where_it_was_fitted(rows):
    confidence, is_right = columns(rows)
    calibrated = fit_calibration(confidence, is_right).apply(confidence)
    means = pl.DataFrame({"c": calibrated, "r": is_right}).group_by("c").agg(pl.col("r").mean())
    assert means["c"].to_list() == pytest.approx(means["r"].to_list())


@given(rows=verdicts)
def test_no_other_rising_map_of_two_levels_fits_better(rows):
    confidence, is_right = columns(rows)
    right = is_right.cast(pl.Float64)
    fitted = ((fit_calibration(confidence, is_right).apply(confidence) - right) ** 2).sum()
    for threshold in (0.2, 0.55, 0.8):
        for low, high in ((0.0, 1.0), (0.3, 0.6), (0.5, 0.5)):
            other = confidence.to_frame("c").select(pl.when(pl.col("c") < threshold).then(low).otherwise(high))
            assert fitted <= ((other.to_series() - right) ** 2).sum() + 1e-9


def test_abstaining_more_leaves_fewer_verdicts():
    curve = accuracy_coverage(*columns([(1.0, True), (1.0, True), (0.5, False), (0.5, True), (0.0, False)]))
    assert curve.rows() == [(1.0, 2, 0.4, 1.0), (0.5, 4, 0.8, 0.75), (0.0, 5, 1.0, 0.6)]


@given(rows=verdicts)
def test_without_abstaining_every_verdict_counts(rows):
    last = accuracy_coverage(*columns(rows)).row(-1, named=True)
    assert (last["n"], last["coverage"]) == (len(rows), 1.0)
    assert last["accuracy"] == pytest.approx(sum(right for _, right in rows) / len(rows))


@pytest.mark.parametrize("confidence", [-0.1, 1.1, None, float("nan")])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        accuracy_coverage(pl.Series([confidence], dtype=pl.Float64), pl.Series([True]))


def test_calibration_needs_verdicts():
    nothing = columns([])
    with pytest.raises(ValueError, match="no verdict"):
        fit_calibration(*nothing)
    with pytest.raises(ValueError, match="no verdict"):
        expected_calibration_error(reliability_table(*nothing))
