import random

import pytest

from selftaught_assets.tinyworld.operations import KINDS, NUMBERS, OPERATIONS, WORDS

BY_NAME = {operation.name: operation for operation in OPERATIONS}


@pytest.mark.parametrize(
    ("name", "items", "parameters", "answer"),
    [
        ("sort_words", "pear ant kiwi", "", "ant kiwi pear"),
        ("keep_kind", "pear ant kiwi", "fruits", "pear kiwi"),
        ("drop_kind", "pear ant kiwi", "fruits", "ant"),
        ("count_kind", "pear ant kiwi", "fruits", "2"),
        ("ascending", "30 4 12", "", "4 12 30"),
        ("descending", "4 30 12", "", "30 12 4"),
        ("largest", "4 30 12", "", "30"),
        ("smallest", "30 4 12", "", "4"),
        ("above", "30 4 12", "12", "30"),
        ("below", "30 4 12", "12", "4"),
        ("even", "3 4 12 7", "", "4 12"),
        ("odd", "3 4 12 7", "", "3 7"),
        ("reverse", "pear ant kiwi", "", "kiwi ant pear"),
        ("first_two", "pear ant kiwi", "", "pear ant"),
        ("last_two", "pear ant kiwi", "", "ant kiwi"),
        ("without_first", "pear ant kiwi", "", "ant kiwi"),
        ("without_last", "pear ant kiwi", "", "pear ant"),
        ("rotate_left", "pear ant kiwi", "", "ant kiwi pear"),
        ("rotate_right", "pear ant kiwi", "", "kiwi pear ant"),
        ("swap_ends", "pear ant fig kiwi", "", "kiwi ant fig pear"),
        ("remove", "pear ant kiwi", "ant", "pear kiwi"),
        ("replace", "pear ant kiwi", "ant fig", "pear fig kiwi"),
        ("append", "pear ant", "fig", "pear ant fig"),
        ("prepend", "pear ant", "fig", "fig pear ant"),
        ("item_after", "pear ant kiwi", "ant", "kiwi"),
        ("unique", "pear ant pear", "", "pear ant"),
    ],
)
def test_operation_computes_its_answer(name: str, items: str, parameters: str, answer: str) -> None:
    assert BY_NAME[name].answer(items.split(), *parameters.split()) == answer.split()


def test_there_are_26_operations_of_at_least_three_wordings_each() -> None:
    assert len(BY_NAME) == len(OPERATIONS) == 26
    assert all(len(operation.wordings) >= 3 for operation in OPERATIONS)


def test_no_wording_belongs_to_two_operations() -> None:
    wordings = [wording for operation in OPERATIONS for wording in operation.wordings]
    assert len(set(wordings)) == len(wordings)


def test_no_word_belongs_to_two_kinds() -> None:
    assert len(WORDS) == sum(len(words) for words in KINDS.values()) == len(set(WORDS))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_drawn_parameters_fill_every_wording(operation) -> None:
    items = random.Random(1).sample(NUMBERS if operation.takes == "numbers" else WORDS, 4)
    parameters = operation.draw(random.Random(2), items)
    for wording in operation.wordings:
        assert all(parameter in wording.format(*parameters) for parameter in parameters)
        assert "{" not in wording.format(*parameters)
