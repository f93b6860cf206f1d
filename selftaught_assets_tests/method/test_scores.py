import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.scoring.accuracy import compare, score, score_subsets, with_score
from selftaught_assets.method.scoring.statistics import mcnemar_exact, sign_flip_exact, wilson_interval
from selftaught_assets_tests.method.tables import right, turned, wrong
from selftaught_assets_tests.method.tables import verdicts as table

answers = st.sampled_from(["A", "B", "TIE", None])
both_orders = st.lists(st.tuples(st.sampled_from("AB"), answers, answers), min_size=1, max_size=30)
with_ties = st.lists(st.tuples(st.sampled_from(["A", "B", "TIE"]), answers, answers), min_size=1, max_size=30)


def test_scores_of_a_small_table_worked_by_hand():
    # right twice; right only with the winner first; invalid then right with the winner first; wrong twice
    scores = score(table([("A", "A", "B"), ("A", "A", "A"), ("B", None, "A"), ("B", "A", "B")]))
    assert (scores.n, scores.right, scores.accuracy) == (8, 4, 0.5)
    assert scores.position_consistent == 0.25
    assert scores.winner_first == 0.75
    assert scores.loser_first == 0.25
    assert scores.invalid == 0.125
    assert scores.interval == wilson_interval(4, 8)


def test_a_judge_that_always_names_the_first_response_scores_one_half():
    scores = score(table([("A", "A", "A"), ("B", "A", "A")]))
    assert (scores.accuracy, scores.winner_first, scores.loser_first, scores.position_consistent) == (
        0.5,
        1.0,
        0.0,
        0.0,
    )


def test_an_invalid_verdict_is_not_half_right():
    assert score(table([("A", None, None)])).accuracy == 0.0
    assert with_score(table([("A", None, "B")]))["score"].to_list() == [0.0, 1.0]


@given(items=both_orders)
def test_accuracy_is_the_mean_over_both_positions_of_the_winner(items):
    scores = score(table(items))
    assert scores.accuracy == pytest.approx((scores.winner_first + scores.loser_first) / 2)
    assert scores.position_consistent <= min(scores.winner_first, scores.loser_first) + 1e-12
    assert scores.accuracy + scores.invalid <= 1 + 1e-12


@given(items=with_ties)
def test_naming_the_two_responses_the_other_way_round_changes_no_score(items):
    assert score(table([(turned(label), swapped, as_given) for label, as_given, swapped in items])) == score(
        table(items)
    )


@given(items=both_orders, shuffle=st.randoms())
def test_the_order_of_rows_changes_no_score(items, shuffle):
    frame = table(items)
    rows = list(range(frame.height))
    shuffle.shuffle(rows)
    assert score(frame[rows]) == score(frame)


def test_items_of_two_benchmarks_may_share_an_id():
    assert score(pl.concat([table([("A", "A", "B")], "x"), table([("A", "A", "B")], "y")])).n == 4


def test_a_pair_that_was_judged_in_one_order_only_is_refused():
    with pytest.raises(ValueError, match="1 pairs are not judged once in each order, the first one is '0001'"):
        score(table([("A", "A", "B"), ("A", "A", "B")]).head(3))


def test_nothing_cannot_be_scored():
    with pytest.raises(ValueError, match="no verdict to score"):
        score(table([]))


def test_a_comparison_counts_what_was_gained_and_lost():
    before = table([("A", "A", "A"), ("A", "B", None), ("A", "A", "B")])
    after = table([("A", "A", "B"), ("A", "A", "B"), ("A", None, "B")])
    result = compare(before, after.reverse())
    assert (result.n, result.gained, result.lost) == (6, 3, 1)
    assert result.p_value == mcnemar_exact(3, 1)


@given(before=both_orders, changes=st.randoms())
def test_a_comparison_the_other_way_round_exchanges_gained_and_lost(before, changes):
    after = [(label, changes.choice("AB"), changes.choice("AB")) for label, _, _ in before]
    forth, back = compare(table(before), table(after)), compare(table(after), table(before))
    assert (forth.gained, forth.lost, forth.p_value) == (back.lost, back.gained, back.p_value)
    assert forth.gained - forth.lost == score(table(after)).right - score(table(before)).right


@pytest.mark.parametrize(
    "other",
    [
        table([("A", "A", "B")]),
        table([("A", "A", "B"), ("A", "A", "B")], "other"),
        table([("A", "A", "B"), ("A", "A", "B")]).with_columns(order=pl.lit("AB")),
    ],
)
def test_judges_measured_on_different_items_are_not_compared(other):
    with pytest.raises(ValueError, match="not measured on the same items"):
        compare(table([("A", "A", "B"), ("A", "A", "B")]), other)


def test_an_invalid_verdict_and_a_tie_without_ties_are_half_right_by_the_rule_of_reward_bench():
    scores = score(table([("A", None, "B"), ("A", "TIE", "A"), ("B", "B", "A")]))
    assert scores.accuracy == 3 / 6
    assert scores.accuracy_invalid_half == (3 + 0.5 + 0.5) / 6
    assert scores.invalid == 1 / 6


def test_a_tied_label_is_right_only_for_a_tie_and_has_no_position():
    scores = score(table([("TIE", "TIE", "A"), ("A", "A", "B")]))
    assert scores.accuracy == 3 / 4
    assert scores.accuracy_invalid_half == 3 / 4, "naming a response where people see a tie is wrong, not half right"
    assert (scores.winner_first, scores.loser_first) == (1.0, 1.0)
    assert score(table([("TIE", "TIE", "A")])).winner_first is None


def test_a_table_whose_label_does_not_move_with_the_responses_is_refused():
    with pytest.raises(ValueError, match="not judged once in each order"):
        score(table([right()]).with_columns(label=pl.lit("A")))


def test_pairs_of_one_instruction_are_drawn_together():
    together = score(table([right(instruction="x")] * 10 + [wrong(instruction="y")] * 10))
    apart = score(table([right()] * 10 + [wrong()] * 10))
    assert (together.instructions, apart.instructions) == (2, 20)
    assert together.interval == apart.interval
    assert together.interval_clustered == (0.0, 1.0)
    assert 0.2 < apart.interval_clustered.low < apart.interval_clustered.high < 0.8


def test_every_subset_is_scored_by_itself():
    subsets = score_subsets(table([right(subset="hard"), wrong(subset="easy"), right(subset="easy")]))
    assert [(name, scores.accuracy, scores.items) for name, scores in subsets.items()] == [
        ("easy", 0.5, 2),
        ("hard", 1.0, 1),
    ]


def test_a_comparison_keeps_the_verdicts_on_an_instruction_together():
    before = table([wrong(instruction=str(number // 5)) for number in range(30)])
    after = table([right(instruction=str(number // 5)) for number in range(30)])
    result = compare(before, after)
    assert result.p_value == mcnemar_exact(60, 0)
    assert result.p_clustered == sign_flip_exact([10] * 6) == pytest.approx(2 / 2**6)


@given(before=both_orders, changes=st.randoms())
def test_the_difference_and_its_interval_turn_with_the_comparison(before, changes):
    after = [(label, changes.choice("AB"), changes.choice("AB")) for label, _, _ in before]
    forth, back = compare(table(before), table(after)), compare(table(after), table(before))
    assert forth.difference == pytest.approx(score(table(after)).accuracy - score(table(before)).accuracy)
    assert forth.difference == -back.difference
    assert forth.p_clustered == back.p_clustered
    assert forth.interval.low - 1e-12 <= forth.difference <= forth.interval.high + 1e-12 or before == after


def test_the_same_items_with_another_label_are_not_compared():
    with pytest.raises(ValueError, match="not measured on the same items"):
        compare(table([right("A")]), table([right("B")]))


def test_nothing_is_not_compared_with_nothing():
    with pytest.raises(ValueError, match="not measured on the same items"):
        compare(table([]), table([]))
