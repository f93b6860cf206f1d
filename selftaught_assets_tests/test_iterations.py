import pytest

from selftaught_assets.iterations import (
    iteration_key,
    iteration_number,
    iteration_partitions,
    next_iteration,
    previous_iteration,
)


def test_keys_sorted_as_strings_are_in_the_order_of_the_iterations() -> None:
    keys = list(iteration_partitions(99).get_partition_keys())
    assert keys == sorted(keys)
    assert [iteration_number(key) for key in keys] == list(range(1, 100))


@pytest.mark.parametrize("number", [1, 9, 10, 99])
def test_number_of_a_key_is_the_one_it_was_made_from(number: int) -> None:
    assert iteration_number(iteration_key(number)) == number


def test_first_iteration_has_none_before_it_and_the_last_none_after_it() -> None:
    assert previous_iteration("iteration_01") is None
    assert next_iteration("iteration_10", 10) is None


def test_previous_and_next_meet_across_ten() -> None:
    assert next_iteration("iteration_09", 10) == "iteration_10"
    assert previous_iteration("iteration_10") == "iteration_09"
