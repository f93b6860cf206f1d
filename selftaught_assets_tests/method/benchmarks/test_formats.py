"""What holds for every format of the registry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks import FORMATS, published_changes, published_scores
from selftaught_assets_tests.method.benchmarks.records import answers, labels, pairs_of, scores_of
from selftaught_assets_tests.method.tables import right, turned, verdicts, wrong

OTHERS = [form for form in FORMATS if form not in ("pairs", "chosen_rejected", "rewardbench")]


def test_a_format_is_listed_by_its_own_name():
    assert [form.name for form in FORMATS.values()] == list(FORMATS)


def test_every_published_format_defines_scores_and_ones_own_data_has_none():
    assert all((form.tally is None) == form.is_own for form in FORMATS.values())


@pytest.mark.parametrize("form", OTHERS)
def test_a_judge_that_is_always_right_has_every_score_1_and_one_that_never_is_has_no_accuracy(form):
    best, worst = scores_of(form, pairs_of(form, right)), scores_of(form, pairs_of(form, wrong))
    assert best
    assert set(best.values()) == {1.0}
    neutral = ("positional_agreement", "decided")
    assert {score for name, score in worst.items() if name not in neutral} == {0.0}


@pytest.mark.parametrize("form", OTHERS)
def test_the_difference_of_two_judges_is_that_of_their_scores(form):
    before, after = verdicts(pairs_of(form, wrong)), verdicts(pairs_of(form, right))
    of_before, of_after = (scores_of(form, pairs_of(form, judged)) for judged in (wrong, right))
    changes = published_changes(form, before, after)
    assert {name: change[:3] for name, change in changes.items()} == {
        name: (score, of_after[name], of_after[name] - score) for name, score in of_before.items()
    }


def test_plain_pairs_have_no_score_of_their_own():
    one = verdicts([right()])
    assert published_scores("pairs", one) == published_changes("pairs", one, one) == {}


@given(pairs=st.lists(st.tuples(labels, answers, answers), min_size=1, max_size=15))
@pytest.mark.parametrize("form", ["mt_bench", "pandalm", "judgebench", "llmbar"])
def test_naming_the_two_responses_the_other_way_round_changes_no_published_score(form, pairs):
    exchanged = [(turned(label), swapped, as_given) for label, as_given, swapped in pairs]
    assert scores_of(form, exchanged) == pytest.approx(scores_of(form, pairs))
