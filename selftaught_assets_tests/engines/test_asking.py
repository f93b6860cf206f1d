import polars as pl
import pytest

from selftaught_assets.engines.asking import judge_tasks, measured_verdicts, measurement_requests, use_requests
from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.single import benchmark_rating_requests
from selftaught_assets.recipe import PROMPTS_FOLDER

ITEM = {"instruction": "Count", "response_a": "1", "response_b": "2", "label": "A"}
ITEMS = benchmark_rows("b", [ITEM | {"id": 1, "reference": "one, of course"}, ITEM | {"id": 2}])


@pytest.mark.parametrize(
    ("form", "requests"),
    [("pairwise", benchmark_requests(ITEMS)), ("single", benchmark_rating_requests(ITEMS))],
)
def test_the_judge_sees_the_reference_of_a_benchmark_where_there_is_one(small_recipe, form, requests):
    recipe = small_recipe(prompts=str(PROMPTS_FOLDER), judgments={"form": form})
    with_reference, without = list(judge_tasks(recipe, requests, n=1))[::2]
    assert "one, of course" in with_reference.messages[0]["content"]
    assert "reference" not in without.messages[0]["content"]


def test_the_single_form_shows_one_response_to_the_judge(small_recipe):
    recipe = small_recipe(prompts=str(PROMPTS_FOLDER), judgments={"form": "single"})
    one, other, *_ = (task.messages[0]["content"] for task in judge_tasks(recipe, benchmark_rating_requests(ITEMS), 1))
    assert "<response>\n1\n</response>" in one
    assert "<response>\n2\n</response>" in other
    assert one.replace("\n1\n", "\n2\n") == other


def _half_failing(tasks, sampling):
    """Answers every other question; the rest the engine gave up on."""
    tasks = list(tasks)
    failed = [place % 2 == 1 for place in range(len(tasks))]
    return pl.DataFrame(
        {
            "request_id": [task.request_id for task in tasks],
            "sample_index": [0] * len(tasks),
            "text": ["" if gone else "[[A]]" for gone in failed],
            "finish_reason": ["failed" if gone else "stop" for gone in failed],
            "completion_tokens": [0 if gone else 3 for gone in failed],
            "error": ["The server said 500." if gone else None for gone in failed],
        }
    )


def test_a_measurement_with_holes_fails_instead_of_counting_them_as_invalid(small_recipe):
    requests = benchmark_requests(ITEMS)
    with pytest.raises(UserError, match=r"2 of 4 verdicts could not be had \(The server said 500"):
        measured_verdicts(small_recipe(), requests, _half_failing, decoding="greedy", judge="digest")


QUESTION = {
    "question": 0,
    "instruction": "Count",
    "response_a": "1",
    "response_b": "2",
    "response": None,
    "reference": "one, of course",
    "pair_id": "b/1",
    "both_orders": True,
    "n": 3,
    "stops_early": True,
}
SCHEMA = dict.fromkeys(QUESTION, pl.String) | {
    "question": pl.Int64,
    "n": pl.Int64,
    "both_orders": pl.Boolean,
    "stops_early": pl.Boolean,
}


@pytest.mark.parametrize("form", ["pairwise", "single"])
def test_a_named_pair_is_asked_as_the_benchmark_is(small_recipe, form):
    recipe = small_recipe(prompts=str(PROMPTS_FOLDER), judgments={"form": form})
    used = use_requests(recipe, pl.DataFrame([QUESTION], SCHEMA))
    measured = measurement_requests(recipe, ITEMS)[:2]
    assert list(judge_tasks(recipe, used, n=3)) == list(judge_tasks(recipe, measured, n=3))


def test_a_pair_without_a_name_has_the_streams_of_what_is_shown(small_recipe):
    unnamed = QUESTION | {"pair_id": None}
    swapped = unnamed | {"question": 1, "response_a": "2", "response_b": "1"}
    forth, back, *again = use_requests(small_recipe(), pl.DataFrame([unnamed, swapped], SCHEMA))["request_id"]
    assert again == [back, forth]
    assert forth != back
