import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.scoring.comparison import Decision, Outcome, decide

counts = st.integers(0, 30)
rules = st.sampled_from(["always", "not_worse", "better"])


def verdicts(right: list[bool]) -> pl.DataFrame:
    """A table of verdicts on pairs of one instruction each, whose better response is A, right or not in both orders."""
    return pl.DataFrame(
        [
            {
                "benchmark": "b",
                "item_id": str(number),
                "instruction_id": str(number),
                "order": order,
                "label": label,
                "verdict": label if is_right else None,
            }
            for number, is_right in enumerate(right)
            for order, label in (("AB", "A"), ("BA", "B"))
        ],
        schema=dict.fromkeys(("benchmark", "item_id", "instruction_id", "order", "label", "verdict"), pl.String),
    )


def decided(gained: int, lost: int, both: int = 0, **settings) -> Decision:
    """The decision about a checkpoint that gained and lost so many pairs; both judges are right on one more."""
    before = [False] * gained + [True] * lost + [True] * (both + 1)
    after = [True] * gained + [False] * lost + [True] * (both + 1)
    return decide(verdicts(before), verdicts(after), **{"rule": "better", "alpha": 0.05} | settings)


@given(counts, counts, st.floats(0.001, 0.5))
def test_always_promotes_whatever_the_verdicts(gained: int, lost: int, alpha: float) -> None:
    assert decided(gained, lost, rule="always", alpha=alpha).outcome == Outcome.PROMOTED


@given(counts, counts, counts, counts, rules)
def test_more_gained_and_less_lost_never_costs_the_promotion(
    gained: int, lost: int, more: int, less: int, rule: str
) -> None:
    if decided(gained, lost, rule=rule).outcome == Outcome.PROMOTED:
        assert decided(gained + more, max(0, lost - less), rule=rule).outcome == Outcome.PROMOTED


@given(counts, counts)
def test_what_is_better_is_not_worse(gained: int, lost: int) -> None:
    if decided(gained, lost, rule="better").outcome == Outcome.PROMOTED:
        assert decided(gained, lost, rule="not_worse").outcome == Outcome.PROMOTED


@given(counts, counts)
def test_not_worse_refuses_exactly_what_would_be_better_the_other_way_round(gained: int, lost: int) -> None:
    refused = decided(gained, lost, rule="not_worse").outcome == Outcome.REFUSED
    assert refused == (decided(lost, gained, rule="better").outcome == Outcome.PROMOTED)


@given(counts, counts, counts, rules)
def test_verdicts_on_which_both_agree_change_nothing(gained: int, lost: int, both: int, rule: str) -> None:
    assert decided(gained, lost, both, rule=rule).outcome == decided(gained, lost, rule=rule).outcome


# Exact two-sided p-values: 6 of 6 is 0.03125, 5 of 5 is 0.0625.
@pytest.mark.parametrize(
    ("gained", "lost", "better", "not_worse"),
    [
        (6, 0, Outcome.PROMOTED, Outcome.PROMOTED),
        (5, 0, Outcome.REFUSED, Outcome.PROMOTED),
        (0, 0, Outcome.REFUSED, Outcome.PROMOTED),
        (0, 5, Outcome.REFUSED, Outcome.PROMOTED),
        (0, 6, Outcome.REFUSED, Outcome.REFUSED),
    ],
)
def test_rules_at_the_edge_of_significance(gained: int, lost: int, better: Outcome, not_worse: Outcome) -> None:
    assert decided(gained, lost, rule="better").outcome == better
    assert decided(gained, lost, rule="not_worse").outcome == not_worse


def test_pairs_lost_in_both_orders_count_once_each() -> None:
    decision = decided(0, 3, both=197, rule="not_worse")
    assert (decision.outcome, decision.comparison.lost) == (Outcome.PROMOTED, 6)
    assert decision.comparison.p_clustered == pytest.approx(0.25)
    assert decision.comparison.p_value < 0.05


def test_of_equal_judges_at_most_one_in_twenty_is_called_better_or_worse() -> None:
    rng = np.random.default_rng(20240805)
    wrong = 0
    for _ in range(200):
        moved = rng.choice([0, 1, -1], size=60, p=[0.6, 0.2, 0.2])
        decision = decided(int((moved == 1).sum()), int((moved == -1).sum()), int((moved == 0).sum()), rule="not_worse")
        wrong += decision.outcome == Outcome.REFUSED or decision.flat == 0
    assert wrong <= 0.05 * 200


def test_a_p_value_of_alpha_is_not_significant() -> None:
    assert decided(6, 0, alpha=2 * 0.5**6).outcome == Outcome.REFUSED


@given(counts, counts, st.integers(0, 5), st.integers(1, 5))
def test_loop_ends_once_so_many_iterations_in_succession_are_flat(
    gained: int, lost: int, before: int, limit: int
) -> None:
    decision = decided(gained, lost, rule="always", stop_when_flat=limit, flat_before=before)
    is_gain = decided(gained, lost, rule="better").outcome == Outcome.PROMOTED
    assert decision.flat == (0 if is_gain else before + 1)
    assert (decision.outcome == Outcome.FLAT) == (decision.flat >= limit)


def test_a_loss_is_no_gain() -> None:
    assert decided(0, 20, rule="always", stop_when_flat=3, flat_before=1).flat == 2


def test_a_refused_checkpoint_is_refused_whether_or_not_the_loop_is_flat() -> None:
    assert decided(0, 20, rule="not_worse", stop_when_flat=1).outcome == Outcome.REFUSED


def test_judges_that_were_not_measured_on_the_same_items_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not measured on the same items"):
        decide(verdicts([True] * 2), verdicts([True]), rule="always", alpha=0.05)
