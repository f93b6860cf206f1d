import pytest

from selftaught_assets.method.costs import Prices, cost, per_kept

USED = {"seconds": 1800.0, "prompt_tokens": 3_000_000, "shared_prompt_tokens": 2_000_000, "completion_tokens": 500_000}


def test_an_hour_costs_what_it_costs_whatever_was_sampled():
    assert cost(Prices(per_hour=4.0), **USED) == pytest.approx(2.0)


def test_shared_prompt_tokens_have_a_price_of_their_own():
    prices = Prices(
        per_million_prompt_tokens=2.0, per_million_shared_prompt_tokens=0.5, per_million_completion_tokens=8.0
    )
    assert cost(prices, **USED) == pytest.approx(1 * 2.0 + 2 * 0.5 + 0.5 * 8.0)


def test_nothing_kept_has_no_cost_for_each():
    assert (per_kept(10.0, 4), per_kept(10.0, 0)) == (2.5, None)
