import polars as pl
import pytest

from selftaught_assets.report import reading
from selftaught_assets.report.contents import Side, Step


def judgments(*rows: tuple[str, str, int, bool, str]) -> pl.LazyFrame:
    """From pair, position of the chosen response, sample index, whether it is right, finish reason."""
    columns = ["pair_id", "chosen_position", "sample_index", "is_correct", "finish_reason"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return (
        frame.with_row_index("number")
        .with_columns(
            judgment_id=pl.format("{}", pl.col("number")).str.zfill(16), completion_tokens=pl.col("number") * 10
        )
        .lazy()
    )


FIVE = judgments(
    ("p", "A", 0, False, "stop"),
    ("p", "A", 1, True, "length"),
    ("p", "A", 2, True, "stop"),
    ("q", "B", 0, True, "stop"),
    ("r", "B", 0, False, "stop"),
)


def filtered(*reasons: str | None) -> pl.LazyFrame:
    return FIVE.select("judgment_id", "pair_id").with_columns(pl.Series("drop_reason", reasons, dtype=pl.String))


def test_a_table_gives_a_step_with_all_rows_and_one_with_the_kept_and_every_reason() -> None:
    table = pl.LazyFrame({"drop_reason": ["b", None, "a", "b", None]})
    assert reading.table_steps("in", "out", table) == [Step("in", 5, {}), Step("out", 2, {"b": 2, "a": 1})]


def test_pairs_without_a_right_judgment_are_counted() -> None:
    assert reading.right_step("right", 4, FIVE) == Step("right", 2, {reading.NO_RIGHT: 2})


def test_a_pair_with_a_right_judgment_that_gives_no_example_is_lost_for_that_judgments_reason() -> None:
    examples = filtered("wrong_verdict", "truncated", "balance", None, "wrong_verdict")
    assert reading.example_step("examples", FIVE, examples) == Step("examples", 1, {"balance": 1})
    examples = filtered("wrong_verdict", "truncated", None, None, "wrong_verdict")
    assert reading.example_step("examples", FIVE, examples) == Step("examples", 2, {})


def test_first_right_counts_samples_up_to_one_that_can_be_trained_on() -> None:
    counts = reading.first_right(FIVE, n=4)
    assert dict(counts.iter_rows()) == {"1": 1, "2": 0, "3": 1, "4": 0, "none": 1}


def test_pass_rates_are_shares_of_each_pair() -> None:
    counts = dict(reading.pass_rates(FIVE, request="chosen_position").iter_rows())
    assert {label: pairs for label, pairs in counts.items() if pairs} == {"0 %": 1, "70 %": 1, "100 %": 1}


def test_sides_count_first_judgments_only() -> None:
    first, second = reading.position_sides(FIVE)
    assert (first.chosen_position, first.n, first.right) == ("A", 1, 0)
    assert (second.chosen_position, second.n, second.right) == ("B", 2, 1)
    assert isinstance(second, Side) and second.low < 0.5 < second.high


def test_length_bins_hold_every_judgment_once() -> None:
    bins = reading.length_bins(FIVE)
    assert bins["judgments"].sum() == 5
    assert bins.filter(pl.col("outcome") == "right")["judgments"].sum() == 3
    assert (bins["tokens"].min(), bins["width"][0]) == (0, 2)


def test_language_measures_length_diversity_and_repetition_of_what_is_kept() -> None:
    examples = filtered(None, None, None, None, "balance").with_columns(
        completion=pl.Series(["a b a b", "a  B a b", "c d", "e", "a b a b"])
    )
    found = reading.language(FIVE, examples, seed=1)
    assert found.tokens == {"median": 20, "p90": 40, "longest": 40}
    assert (found.truncated, found.sample, found.repeated) == (1, 4, 0.5)
    assert found.distinct_1 == pytest.approx(5 / 11)
    assert found.distinct_2 == pytest.approx(3 / 7)


def test_where_nothing_is_kept_there_is_no_language() -> None:
    examples = filtered(*["balance"] * 5).with_columns(completion=pl.lit(None, dtype=pl.String))
    assert reading.language(FIVE, examples, seed=1) is None
