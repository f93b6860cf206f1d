import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.training_set import DROP_REASONS, select_examples
from selftaught_assets_tests.method.tables import judgment_tables, judgments, kept, seeds

modes = st.sampled_from(["correct", "any"])


def test_each_unusable_judgment_says_why():
    samples = [("A", "stop"), ("B", "stop"), (None, "length"), ("TIE", "stop"), ("A", "length")]
    table = judgments([(1, "A", verdict, finish) for verdict, finish in samples])
    reasons = select_examples(table, keep="correct", seed=1)["drop_reason"].to_list()
    assert reasons == [None, "wrong_verdict", "invalid_verdict", "tie_verdict", "truncated"]


def test_any_keeps_wrong_verdicts_in_the_draw_but_neither_invalid_ones_nor_ties():
    table = judgments([(1, "A", "B", "stop"), (2, "A", None, "stop"), (3, "A", "TIE", "stop"), (4, "A", "B", "length")])
    reasons = select_examples(table, keep="any", seed=1)["drop_reason"].to_list()
    assert reasons == [None, "invalid_verdict", "tie_verdict", "truncated"]


@given(table=judgment_tables, keep=modes, seed=seeds)
def test_every_pair_and_position_with_a_candidate_keeps_exactly_one(table, keep, seed):
    frame = select_examples(table, keep=keep, seed=seed)
    usable = pl.col("verdict").is_in(["A", "B"]) & (pl.col("finish_reason") != "length")
    candidates = frame.filter(usable & pl.col("is_correct")) if keep == "correct" else frame.filter(usable)
    group = ["pair_id", "chosen_position"]
    assert kept(frame).select(group).sort(group).equals(candidates.select(group).unique().sort(group))
    assert set(kept(frame)["judgment_id"]) <= set(candidates["judgment_id"])


@given(table=judgment_tables, keep=modes, seed=seeds)
def test_no_row_is_lost_and_every_reason_is_a_documented_one(table, keep, seed):
    frame = select_examples(table, keep=keep, seed=seed)
    account(frame, table.height)
    assert frame.drop("drop_reason").equals(table)
    assert set(frame["drop_reason"].drop_nulls()) <= set(DROP_REASONS)


@given(table=judgment_tables, keep=modes, seed=seeds, shuffle=st.randoms())
def test_the_draw_belongs_to_ids_and_not_to_the_order_of_rows(table, keep, seed, shuffle):
    rows = list(range(table.height))
    shuffle.shuffle(rows)
    expected = select_examples(table, keep=keep, seed=seed).sort("judgment_id")
    assert select_examples(table[rows], keep=keep, seed=seed).sort("judgment_id").equals(expected)


@given(table=judgment_tables, seed=seeds)
def test_wrong_judgments_have_no_influence_on_which_right_one_is_kept(table, seed):
    right = table.filter(pl.col("is_correct"))
    with_wrong = kept(select_examples(table, keep="correct", seed=seed))
    assert with_wrong.equals(kept(select_examples(right, keep="correct", seed=seed)))


def test_every_correct_judgment_is_drawn_equally_often():
    samples = [("A", "stop"), ("B", "stop"), ("A", "stop"), ("A", "stop"), ("A", "length"), ("A", "stop")]
    table = judgments([(pair, "A", verdict, finish) for pair in range(1200) for verdict, finish in samples])
    drawn = kept(select_examples(table, keep="correct", seed=1))
    counts = drawn.group_by(pl.col("sample_index") % len(samples)).len()
    assert set(counts["sample_index"]) == {0, 2, 3, 5}
    statistic = sum((count - 300) ** 2 / 300 for count in counts["len"])
    assert statistic < 16.3, "chi-square with 3 degrees of freedom, p = 0.001"
