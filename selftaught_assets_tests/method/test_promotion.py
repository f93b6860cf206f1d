import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.promotion import Decision, Outcome, decide

counts = st.integers(0, 30)
rules = st.sampled_from(["always", "not_worse", "better"])


def verdicts(right: list[bool]) -> pl.DataFrame:
    """A table of verdicts on pairs whose better response is A as given, two verdicts each."""
    return pl.DataFrame(
        [
            {
                "benchmark": "b",
                "item_id": str(number // 2),
                "instruction_id": str(number // 2),
                "order": ("AB", "BA")[number % 2],
                "label": ("A", "B")[number % 2],
                "verdict": ("A", "B")[number % 2] if is_right else None,
            }
            for number, is_right in enumerate(right)
        ],
        schema=dict.fromkeys(("benchmark", "item_id", "instruction_id", "order", "label", "verdict"), pl.String),
    )


def decided(gained: int, lost: int, both: int = 0, **settings) -> Decision:
    """The decision about a checkpoint that gained and lost so many verdicts; both judges are right once more."""
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
        decide(verdicts([True] * 4), verdicts([True] * 2), rule="always", alpha=0.05)
