import polars as pl
import pytest

from selftaught_assets.assets.sampling import greedy_verdicts, judge_tasks
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
    with_reference, without = judge_tasks(recipe, requests, n=1)[::2]
    assert "one, of course" in with_reference.messages[0]["content"]
    assert "reference" not in without.messages[0]["content"]


def test_the_single_form_shows_one_response_to_the_judge(small_recipe):
    recipe = small_recipe(prompts=str(PROMPTS_FOLDER), judgments={"form": "single"})
    one, other, *_ = (task.messages[0]["content"] for task in judge_tasks(recipe, benchmark_rating_requests(ITEMS), 1))
    assert "<response>\n1\n</response>" in one
    assert "<response>\n2\n</response>" in other
    assert one.replace("\n1\n", "\n2\n") == other


class _HalfFailing:
    """Answers every other question; the rest the engine gave up on."""

    model_digest = "digest"

    def sample(self, tasks, sampling):
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
    with pytest.raises(UserError, match=r"2 of 4 verdicts could not be had \(The server said 500"):
        greedy_verdicts(small_recipe(), _HalfFailing(), benchmark_requests(ITEMS))
